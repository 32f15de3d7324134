//! Sandboxes that runners hold: the desk carries what is typed and printed between a runner and the person at one of them, and
//! understands none of it.

use super::Desk;
use super::denied::Denied;
use super::speaker::{had, has, speaker};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use millrace_core::RunnerName;
use millrace_core::hold::{Hold, PRINTED_BYTES_MAX, Printed, SessionEnd};
use millrace_core::protocol::{
    Attend, Attended, GivenUp, Held, Listen, Print, Shown, Typing, WAIT_S_MAX, WantedSession,
};
use millrace_core::runner::Runner;
use millrace_core::task::{Lease, LeaseId};
use millrace_store::builds::load_build;
use millrace_store::holds::{
    begin_hold, change_hold, change_printed, forget_sessions, holds_of, load_hold, typed,
};
use millrace_store::index::runner_holds_index;
use millrace_store::{BlobStore, StateStore};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the desk looks whether somebody wants something of a held sandbox: who types a command waits as long.
const LOOK: Duration = Duration::from_millis(200);

/// How often it looks whether something was typed: nobody feels a hundredth of a second.
const KEYS_LOOK: Duration = Duration::from_millis(10);

/// Looks at what was typed between two at the hold itself: a quarter of a second.
const LOOKS: u32 = 25;

/// How long a runner pauses between two questions for what somebody wants of the sandboxes that it holds, where each is paid for, in
/// milliseconds: eight hours of them cost a cent.
const ATTEND_PAUSE_MS: u32 = 3_000;

/// The same between two for what was typed, while somebody sits there: an hour costs a cent.
const KEYS_PAUSE_MS: u32 = 400;

/// The same between two for what was printed: each write is paid for by its size, and an hour that prints without a pause costs some
/// cents.
const PRINT_PAUSE_MS: u32 = 300;

/// Most holds of one runner that are looked at: it holds four.
const HOLDS_MAX: usize = 64;

/// Why a hold is over of whose runner nothing is left.
const RESTARTED: &str = "its runner was restarted";

fn patience(wait_ms: u32) -> Duration {
    Duration::from_millis(wait_ms.into()).min(Duration::from_secs(WAIT_S_MAX.into()))
}

pub(crate) async fn attend<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(ask): Json<Attend>,
) -> Result<Json<Attended>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    if !runner.is(&ask.runner) {
        return Err(Denied::Bad(format!(
            "the token is not that of runner {}",
            ask.runner
        )));
    }
    if ask.started {
        for hold in holds_of(&desk.state, &runner_holds_index(&ask.runner), HOLDS_MAX).await? {
            if !ask.holds.iter().any(|held| held.lease_id == hold.lease_id) {
                end(&desk, &ask.runner, &hold.lease_id, RESTARTED).await?;
            }
        }
    }
    for GivenUp { lease_id, reason } in &ask.given_up {
        end(&desk, &ask.runner, lease_id, reason).await?;
    }
    for held in &ask.holds {
        begin(&desk, &runner, &ask.runner, held).await?;
    }
    let until = Instant::now() + patience(ask.wait_ms);
    loop {
        let mut attended = wanted(&desk, &ask).await?;
        if desk.paces.is_some() {
            attended.pause_ms = Some(ATTEND_PAUSE_MS);
            return Ok(Json(attended));
        }
        if !attended.sessions.is_empty() || !attended.unwanted.is_empty() || Instant::now() >= until
        {
            return Ok(Json(attended));
        }
        sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

/// Writes down that a hold is over, if it is this runner's; what went to and fro is forgotten with it.
async fn end<S: StateStore, B>(
    desk: &Desk<S, B>,
    runner: &RunnerName,
    lease_id: &LeaseId,
    reason: &str,
) -> Result<(), Denied> {
    let now = (desk.clock)();
    let ended = change_hold(&desk.state, lease_id, |hold| {
        if hold.runner == *runner {
            hold.give_up(reason, now);
            return Some(hold.clone());
        }
        None
    });
    if let Some(Some(hold)) = ended.await? {
        forget_sessions(&desk.state, &hold).await?;
    }
    Ok(())
}

/// Writes down a hold that the line has not heard of, if its build wants it. One that no build asks for is answered with the others.
async fn begin<S: StateStore, B>(
    desk: &Desk<S, B>,
    runner: &Runner,
    name: &RunnerName,
    held: &Held,
) -> Result<(), Denied> {
    let Held {
        lease_id, failed, ..
    } = held;
    if load_hold(&desk.state, lease_id).await?.is_some() {
        return Ok(());
    }
    let Some((build, _)) = load_build(&desk.state, &lease_id.build).await? else {
        return Ok(());
    };
    let Some(task) = build.task(&lease_id.task) else {
        return Ok(());
    };
    let by_lease = |lease: &Lease| lease.runner == *name;
    let own = (has(task, runner, lease_id) && task.lease().is_some_and(by_lease))
        || (had(task, runner, lease_id)
            && task
                .attempts
                .iter()
                .any(|one| one.number == lease_id.number && one.runner == *name));
    if let Some(hold_s) = build.push.announced.options.hold_s.filter(|_| own) {
        let hold = Hold::new(
            lease_id.clone(),
            name.clone(),
            (desk.clock)(),
            hold_s,
            failed.clone(),
        );
        begin_hold(&desk.state, &hold).await?;
    }
    Ok(())
}

/// What somebody wants of these holds now.
async fn wanted<S: StateStore, B>(desk: &Desk<S, B>, ask: &Attend) -> Result<Attended, Denied> {
    let mut attended = Attended::default();
    for held in &ask.holds {
        let hold = load_hold(&desk.state, &held.lease_id)
            .await?
            .filter(|hold| hold.runner == ask.runner);
        let unwanted = match &hold {
            None => Some("its build wants no sandbox held".to_owned()),
            Some(hold) => gone(hold),
        };
        if let Some(reason) = unwanted {
            attended.unwanted.push(GivenUp {
                lease_id: held.lease_id.clone(),
                reason,
            });
        } else if let Some(session) = hold
            .as_ref()
            .and_then(Hold::session)
            .filter(|session| session.number > held.session)
        {
            attended.sessions.push(WantedSession {
                lease_id: held.lease_id.clone(),
                session: session.clone(),
            });
        }
    }
    Ok(attended)
}

/// Why a hold must be given up, if it must.
fn gone(hold: &Hold) -> Option<String> {
    let unwanted = || {
        hold.unwanted_by
            .as_ref()
            .map(|by| format!("{by} has given it up"))
    };
    hold.end
        .as_ref()
        .map(|end| end.reason.clone())
        .or_else(unwanted)
}

/// The hold of a session, which must be this runner's.
async fn held<S: StateStore, B>(
    desk: &Desk<S, B>,
    runner: &Runner,
    lease_id: &LeaseId,
) -> Result<Hold, Denied> {
    let hold = load_hold(&desk.state, lease_id)
        .await?
        .filter(|hold| runner.is(&hold.runner));
    hold.ok_or_else(|| {
        Denied::Gone(format!(
            "no sandbox of task {} of build {} is held by this runner",
            lease_id.task, lease_id.build
        ))
    })
}

/// How a session is over, whatever happens in it.
fn over(hold: &Hold, session: u32) -> Option<SessionEnd> {
    hold.end_of_session(session)
        .or_else(|| gone(hold).map(|reason| SessionEnd::GivenUp { reason }))
}

pub(crate) async fn listen<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(ask): Json<Listen>,
) -> Result<Json<Typing>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let until = Instant::now() + patience(ask.wait_ms);
    let pause_ms = desk.paces.map(|_| KEYS_PAUSE_MS);
    let mut looks = 0;
    let mut over_now = None;
    loop {
        if looks % LOOKS == 0 {
            over_now = over(&held(&desk, &runner, &ask.lease_id).await?, ask.session);
        }
        looks += 1;
        let typed = typed(&desk.state, &ask.lease_id, ask.session).await?;
        let is_news = typed.keys.end() > ask.seen
            || typed.size != ask.size
            || typed.left
            || over_now.is_some();
        if is_news || pause_ms.is_some() || Instant::now() >= until {
            return Ok(Json(Typing {
                typed,
                over: over_now,
                pause_ms,
            }));
        }
        sleep(KEYS_LOOK).await;
    }
}

pub(crate) async fn print<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(Print {
        lease_id,
        session,
        printed,
    }): Json<Print>,
) -> Result<Json<Shown>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let hold = held(&desk, &runner, &lease_id).await?;
    let over = over(&hold, session);
    if hold.end.is_some() {
        return Ok(Json(Shown {
            end: printed.output.end(),
            over: true,
            pause_ms: None,
        }));
    }
    let shown = typed(&desk.state, &lease_id, session).await?.shown;
    let kept = change_printed(&desk.state, &lease_id, session, |kept| {
        merge(kept, &printed, shown, over.as_ref())
    })
    .await?;
    if let Some(end) = &kept.ended {
        let now = (desk.clock)();
        change_hold(&desk.state, &lease_id, |hold| {
            hold.session_ended(session, end.clone(), now)
        })
        .await?;
    }
    let pause_ms = desk.paces.map(|_| PRINT_PAUSE_MS);
    Ok(Json(Shown {
        end: kept.output.end(),
        over: over.is_some() || kept.ended.is_some(),
        pause_ms,
    }))
}

/// Adds what a runner says to what is kept. That the session has ended is reported when all that was printed before is there.
fn merge(kept: &mut Printed, said: &Printed, shown: u64, over: Option<&SessionEnd>) {
    kept.output.acknowledge(shown);
    kept.output
        .add(said.output.from, &said.output.bytes, PRINTED_BYTES_MAX);
    kept.typed = kept.typed.max(said.typed);
    kept.beat = kept.beat.max(said.beat);
    if kept.ended.is_none() {
        let all = said
            .ended
            .as_ref()
            .filter(|_| kept.output.end() >= said.output.end());
        kept.ended = over.or(all).cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::hold::Stream;

    #[test]
    fn a_session_ends_when_its_last_word_has_room() {
        let word = vec![b'x'; PRINTED_BYTES_MAX];
        let said = |from, bytes: &[u8]| Printed {
            output: Stream {
                from,
                bytes: bytes.to_vec(),
            },
            ended: Some(SessionEnd::Exited { status: 3 }),
            ..Printed::default()
        };
        let mut kept = Printed::default();
        merge(
            &mut kept,
            &Printed {
                ended: None,
                ..said(0, &word)
            },
            0,
            None,
        );
        let end = word.len() as u64;
        merge(&mut kept, &said(end, b"bye"), 0, None);
        assert_eq!((kept.output.end(), &kept.ended), (end, &None));
        merge(&mut kept, &said(end, b"bye"), end, None);
        assert_eq!(
            (kept.output.after(end), &kept.ended),
            (b"bye".as_slice(), &Some(SessionEnd::Exited { status: 3 }))
        );
    }

    #[test]
    fn the_first_word_on_how_a_session_ended_stays() {
        let mut kept = Printed::default();
        merge(
            &mut kept,
            &Printed {
                ended: Some(SessionEnd::Exited { status: 3 }),
                ..Printed::default()
            },
            0,
            None,
        );
        merge(
            &mut kept,
            &Printed::default(),
            0,
            Some(&SessionEnd::Taken {
                by: "erin".parse().unwrap(),
            }),
        );
        assert_eq!(kept.ended, Some(SessionEnd::Exited { status: 3 }));
    }
}
