//! Sandboxes that are held after a failure: who gets in, and who gives them up.

use crate::build::has_task;
use crate::{ControlError, NotFound};
use millrace_core::Timestamp;
use millrace_core::access::Actor;
use millrace_core::build::Build;
use millrace_core::hold::{Hold, HoldEnd, Wants};
use millrace_core::task::{LeaseId, TaskId};
use millrace_store::StateStore;
use millrace_store::holds::{change_hold, holds_of_build};
use tracing::{info, instrument};

/// A session that somebody wants in a held sandbox.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    /// A shell or a command.
    pub wants: Wants,
    /// Whether to take over from somebody who is in it.
    pub take: bool,
}

/// Finds the sandbox of a build that is held: of this task, or of the only one.
pub async fn find(
    build: &Build,
    task: Option<&TaskId>,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Hold, ControlError> {
    if let Some(task) = task {
        has_task(build, task)?;
    }
    let mut holds = holds_of_build(state, build).await?;
    holds.retain(|hold| task.is_none_or(|task| hold.lease_id.task == *task));
    let over = holds.extract_if(.., |hold| hold.over(now).is_some());
    let over: Vec<HoldEnd> = over.filter_map(|hold| hold.over(now)).collect();
    if holds.len() > 1 {
        let tasks: Vec<String> = holds
            .iter()
            .map(|hold| hold.lease_id.task.to_string())
            .collect();
        return Err(ControlError::Invalid(format!(
            "sandboxes of several tasks are held: name one of {}",
            tasks.join(", ")
        )));
    }
    let not_found = || NotFound::Hold(why_not(build, over.first()));
    Ok(holds.pop().ok_or_else(not_found)?)
}

fn why_not(build: &Build, over: Option<&HoldEnd>) -> String {
    let again = format!(
        "`millrace retry {} --hold 30m` does again what failed, and holds it",
        build.id
    );
    match over {
        Some(HoldEnd { at, reason }) => format!(
            "the sandbox is held no more since {}: {reason}; {again}",
            at.rfc3339()
        ),
        None => format!("no sandbox of build {} is held; {again}", build.id),
    }
}

/// Lets somebody into a held sandbox; gives the session's number.
#[instrument(skip_all, fields(actor = actor.record(), build = %lease_id.build, task = %lease_id.task))]
pub async fn open_session(
    actor: &Actor,
    lease_id: &LeaseId,
    request: SessionRequest,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<u32, ControlError> {
    info!("asked for a terminal in a held sandbox");
    let let_in = change_hold(state, lease_id, |hold| {
        hold.let_in(actor, request.wants.clone(), request.take, now)
    });
    let number = let_in.await?.ok_or_else(|| is_gone(lease_id))??;
    Ok(number)
}

/// Says that a held sandbox is not wanted any more. Its runner gives it up when it next asks.
#[instrument(skip_all, fields(actor = actor.record(), build = %lease_id.build, task = %lease_id.task))]
pub async fn give_up(
    actor: &Actor,
    lease_id: &LeaseId,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to give a held sandbox up");
    let change = change_hold(state, lease_id, |hold| {
        hold.unwanted_by.get_or_insert_with(|| actor.clone());
    });
    Ok(change.await?.ok_or_else(|| is_gone(lease_id))?)
}

fn is_gone(lease_id: &LeaseId) -> NotFound {
    NotFound::Hold(format!("no sandbox of {} is held", lease_id.task))
}
