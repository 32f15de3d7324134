//! The notice that this machine is about to be taken back: a spot instance of EC2 has two minutes left then (Amazon EC2 User Guide,
//! "Spot Instance interruption notices").

use crate::line::patience::wait;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::warn;
use ureq::Agent;

/// Where machines of EC2 ask for their metadata, and the variable that names another place.
const SERVICE: &str = "http://169.254.169.254";
const VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";

/// How often it is looked for; EC2 says every 5 seconds.
const LOOK: Duration = Duration::from_secs(5);

/// How long the service may take, which is on the machine itself.
const ANSWER: Duration = Duration::from_secs(2);

/// How long a session with the service lasts, in seconds: the longest that it gives.
const SESSION_S: &str = "21600";

/// Sets `stop` when this machine is about to be taken back, and comes back then or when somebody else has set it.
pub fn watch(stop: &AtomicBool) {
    let place = std::env::var(VARIABLE).unwrap_or_else(|_| SERVICE.to_owned());
    let agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER))
        .build()
        .new_agent();
    watch_at(&agent, place.trim_end_matches('/'), LOOK, stop);
}

fn watch_at(agent: &Agent, place: &str, look: Duration, stop: &AtomicBool) {
    let mut session = None;
    while !stop.load(Ordering::SeqCst) {
        session = session.or_else(|| begin(agent, place));
        match session
            .as_deref()
            .map(|session| is_told(agent, place, session))
        {
            Some(Some(true)) => {
                warn!(
                    "this machine is taken back in two minutes; what runs here goes back to the queue"
                );
                return stop.store(true, Ordering::SeqCst);
            }
            Some(Some(false)) | None => {}
            // The session is over.
            Some(None) => session = None,
        }
        wait(look, stop);
    }
}

/// A session with the service.
fn begin(agent: &Agent, place: &str) -> Option<String> {
    let asked = agent
        .put(format!("{place}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", SESSION_S);
    let mut answer = asked
        .send_empty()
        .ok()
        .filter(|answer| answer.status().is_success())?;
    answer.body_mut().read_to_string().ok()
}

/// Whether there is a notice; none if the service does not say.
fn is_told(agent: &Agent, place: &str, session: &str) -> Option<bool> {
    let asked = agent
        .get(format!("{place}/latest/meta-data/spot/instance-action"))
        .header("x-aws-ec2-metadata-token", session);
    match asked.call().ok()?.status().as_u16() {
        200 => Some(true),
        404 => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::answer_in_turn;
    use std::sync::Arc;

    #[test]
    fn a_machine_that_is_taken_back_stops_its_runner_and_one_that_is_not_does_not() {
        const TOKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc";
        const NOTHING: &str =
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        const OVER: &str =
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        const NOTICE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        let (place, asked) = answer_in_turn(&[TOKEN, NOTHING, OVER, TOKEN, NOTICE]);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        let stop = Arc::new(AtomicBool::new(false));
        watch_at(&agent, &place, Duration::from_millis(1), &stop);
        assert!(stop.load(Ordering::SeqCst));
        let asked: Vec<String> = asked
            .join()
            .unwrap()
            .iter()
            .map(|head| head.lines().next().unwrap())
            .map(|line| line.rsplit('/').nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(
            asked,
            [
                "token HTTP",
                "instance-action HTTP",
                "instance-action HTTP",
                "token HTTP",
                "instance-action HTTP"
            ]
        );
    }

    #[test]
    fn whoever_stops_the_runner_stops_the_watch() {
        watch(&AtomicBool::new(true));
    }
}
