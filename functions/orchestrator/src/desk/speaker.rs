//! Who speaks to the desk, and which lease it holds.

use super::Desk;
use super::denied::Denied;
use axum::http::{HeaderMap, header};
use millrace_core::build::Build;
use millrace_core::runner::{Runner, Token};
use millrace_core::task::{LeaseId, Task};
use millrace_store::StateStore;
use millrace_store::builds::load_build;
use millrace_store::runners::runner_of_token;

/// The runner that speaks.
pub(crate) async fn speaker<S: StateStore, B>(
    desk: &Desk<S, B>,
    headers: &HeaderMap,
) -> Result<Runner, Denied> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(Denied::Unknown)?;
    runner_of_token(&desk.state, &Token::presented(token))
        .await?
        .ok_or(Denied::Unknown)
}

/// Makes sure that the runner holds this lease now, and answers the build that it is of.
pub(crate) async fn build_of_lease<S: StateStore, B>(
    desk: &Desk<S, B>,
    runner: &Runner,
    lease_id: &LeaseId,
) -> Result<Build, Denied> {
    let build = load_build(&desk.state, &lease_id.build)
        .await?
        .map(|(build, _)| build);
    let is_held = |build: &Build| {
        build
            .task(&lease_id.task)
            .is_some_and(|task| has(task, runner, lease_id))
    };
    build.filter(is_held).ok_or_else(|| over(lease_id))
}

/// Whether the runner has this lease of a task now.
pub(super) fn has(task: &Task, runner: &Runner, lease_id: &LeaseId) -> bool {
    task.lease()
        .is_some_and(|lease| lease.number == lease_id.number && runner.is(&lease.runner))
}

/// Whether it once had it.
pub(super) fn had(task: &Task, runner: &Runner, lease_id: &LeaseId) -> bool {
    task.attempts
        .iter()
        .any(|attempt| attempt.number == lease_id.number && runner.is(&attempt.runner))
}

pub(super) fn over(lease_id: &LeaseId) -> Denied {
    Denied::Gone(format!(
        "lease {} of task {} of build {} is over",
        lease_id.number, lease_id.task, lease_id.build
    ))
}
