//! Hands in what came of a task.

use super::runner::Runner;
use crate::line::client::DeskError;
use crate::line::log::TaskLog;
use crate::line::patience::patiently;
use millrace_core::Digest;
use millrace_core::chain;
use millrace_core::protocol::Report;
use millrace_core::roots::TaskRoots;
use millrace_core::task::{Blame, Failure, LeaseId, Outcome};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tracing::warn;

/// How long a stopping runner tries to hand its task back; a supervisor kills what has not stopped after 10 s.
pub(super) const GOODBYE: Duration = Duration::from_secs(3);

/// How long an answer is tried to be handed in. After that the line has leased the task to others many times over.
pub(super) const ANSWER: Duration = Duration::from_secs(3600);

/// What came of a task.
pub(super) struct TaskResult {
    pub(super) outcome: Outcome,
    /// What was in its roots, handed in.
    pub(super) roots: Option<Digest>,
}

impl TaskResult {
    /// Of a task that had no roots.
    pub(super) const fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            roots: None,
        }
    }
}

/// Hands in an answer. If the line refuses it for what it says, the task fails with the line's words instead.
pub(super) fn report(runner: &Runner, lease: &LeaseId, result: TaskResult, time: Duration) {
    let TaskResult { outcome, roots } = result;
    let never = AtomicBool::new(false);
    // A runner that is stopped while the line is away does not hang on.
    let stop = if time == GOODBYE {
        &never
    } else {
        &*runner.stop
    };
    let send = |outcome: Outcome| {
        let report = Report {
            lease_id: lease.clone(),
            outcome,
            roots,
        };
        patiently(time, stop, || runner.services.desk.report(&report))
    };
    let answer = match send(outcome) {
        Err(DeskError::Refused { message, .. }) => send(Outcome::Failed(Failure::new(
            Blame::Environment,
            format!("the line refused the answer: {message}"),
        ))),
        other => other,
    };
    if let Err(error) = answer {
        warn!(
            build = %lease.build, task = %lease.task, problem = chain(&error),
            "the answer did not arrive"
        );
    }
}

/// Hands in what was in a task's roots.
pub(super) fn hand_in_roots(
    runner: &Runner,
    roots: &TaskRoots,
    lease: &LeaseId,
) -> Result<Digest, DeskError> {
    let bytes = serde_json::to_vec(roots).expect("a record of roots becomes JSON");
    let digest = Digest::of(&bytes);
    let desk = &runner.services.desk;
    let send = || desk.upload(lease, &digest, bytes.len() as u64, &mut bytes.as_slice());
    patiently(ANSWER, &runner.stop, send)?;
    Ok(digest)
}

/// A failure with the last word of its log, and what the log says that it was.
pub(super) fn explained(outcome: Outcome, log: &TaskLog) -> Outcome {
    let Outcome::Failed(failure) = outcome else {
        return outcome;
    };
    log.section("failed");
    log.line(&failure.reason);
    // What only the package's author can mend is looked for in what the package has printed.
    let cause = matches!(failure.blame, Blame::Package)
        .then(|| log.cause())
        .flatten();
    Outcome::Failed(Failure { cause, ..failure })
}
