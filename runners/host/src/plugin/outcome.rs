//! What the end of a run means for the line.

use super::bindings;
use super::end::End;
use millrace_core::platform::Limits;
use millrace_core::task::{Artifact, Blame, Failure, Outcome, cut};

/// The answer to a task. `plugin` is named if it is to blame, and of `limits` the one that it has reached.
pub fn of(end: End, plugin: &str, limits: &Limits, artifacts: Vec<Artifact>) -> Outcome {
    let blamed = |what: String| failed(Blame::Plugin, format!("the plugin `{plugin}` {what}"));
    match end {
        End::Answered(Ok(bindings::Outcome::Passed(summary))) => Outcome::Passed {
            summary: cut(&summary),
            artifacts,
        },
        End::Answered(Ok(bindings::Outcome::Excluded(reason))) => Outcome::Excluded {
            reason: cut(&reason),
        },
        End::Answered(Err(failure)) => failed(blame(failure.blame), failure.reason),
        End::Stopped => handed_back(),
        End::TimedOut => {
            let time_s = limits.time_s;
            failed(
                Blame::Package,
                format!(
                    "stopped: the task was not done after {time_s} s (`time_s` of the step's limits)"
                ),
            )
        }
        End::Silent => {
            let silence_s = limits.silence_s;
            failed(
                Blame::Package,
                format!(
                    "stopped: it printed nothing for {silence_s} s (`silence_s` of the step's limits)"
                ),
            )
        }
        End::Loops => blamed("was stopped: it computes without end".to_owned()),
        End::OutOfMemory(bytes) => blamed(format!(
            "was stopped: it wants more than the {} MiB of memory that a plugin has",
            bytes >> 20
        )),
        End::StackOverflow => blamed("was stopped: it calls itself without end".to_owned()),
        End::Exited(status) => blamed(format!(
            "ended itself with status {status} where it should have answered"
        )),
        End::Trapped(problem) => blamed(format!(
            "broke down: {problem}; the end of the log has its last words"
        )),
        End::Trouble(problem) => failed(Blame::Environment, problem),
    }
}

/// The answer of a runner that stops: the task goes back to the line as it was, whatever the plugin has made of its end.
pub fn handed_back() -> Outcome {
    Outcome::HandedBack {
        reason: "the runner was stopped".to_owned(),
    }
}

fn failed(blame: Blame, reason: String) -> Outcome {
    Outcome::Failed(Failure::new(blame, cut(&reason)))
}

const fn blame(blame: bindings::types::Blame) -> Blame {
    match blame {
        bindings::types::Blame::Package => Blame::Package,
        bindings::types::Blame::Configuration => Blame::Configuration,
        bindings::types::Blame::Environment => Blame::Environment,
        bindings::types::Blame::Plugin => Blame::Plugin,
    }
}
