//! A runner says that it is still at its task, and how the task ended.

use super::denied::Denied;
use super::speaker::{build_of_lease, had, has, over, speaker};
use super::{Desk, files, log};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use millrace_core::Timestamp;
use millrace_core::build::{Event, LeaseRenewal};
use millrace_core::protocol::{Renewal, Renewed, Report};
use millrace_core::task::{LEASE_MS, LeaseId, Outcome, Task};
use millrace_store::builds::load_build;
use millrace_store::leases::hear;
use millrace_store::{BlobStore, StateStore, tell_build};
use tracing::{info, instrument};

#[instrument(skip_all, fields(build = %lease_id.build, task = %lease_id.task, lease = %lease_id.number))]
pub(super) async fn renew<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(Renewal { lease_id, silent_s }): Json<Renewal>,
) -> Result<Json<Renewed>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let build = build_of_lease(&desk, &runner, &lease_id).await?;
    let now = (desk.clock)();
    let heard = LeaseRenewal {
        task: lease_id.task.clone(),
        lease: lease_id.number,
        at: now,
    };
    let at = hear(&desk.state, &lease_id.build, &heard).await?;
    let lease = build.task(&lease_id.task).and_then(Task::lease);
    if lease.is_some_and(|lease| lease.silent_since.is_some() != silent_s.is_some()) {
        silence(&desk, lease_id, silent_s, now).await?;
    }
    let hand_back = lease
        .and_then(|lease| runner.draining(&lease.runner))
        .is_some_and(|draining| draining.hand_back);
    Ok(Json(Renewed {
        until: at.plus_ms(LEASE_MS),
        now,
        hand_back,
    }))
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed { .. } => "passed",
        Outcome::Excluded { .. } => "excluded",
        Outcome::Failed(_) => "failed",
        Outcome::HandedBack { .. } => "handed back",
    }
}

/// Tells a build that one of its tasks has fallen silent, or speaks again.
async fn silence<S: StateStore, B>(
    desk: &Desk<S, B>,
    lease_id: LeaseId,
    silent_s: Option<u32>,
    now: Timestamp,
) -> Result<(), Denied> {
    let since = silent_s.map(|seconds| Timestamp(now.0.saturating_sub(u64::from(seconds) * 1000)));
    let event = Event::Silent {
        task: lease_id.task,
        lease: lease_id.number,
        since,
    };
    Ok(tell_build(&desk.state, &lease_id.build, event, now).await?)
}

#[instrument(skip_all, fields(build = %report.lease_id.build, task = %report.lease_id.task, lease = %report.lease_id.number))]
pub(super) async fn report<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(report): Json<Report>,
) -> Result<StatusCode, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let Report {
        lease_id,
        outcome,
        roots,
    } = report;
    let build = load_build(&desk.state, &lease_id.build).await?;
    let task = build
        .as_ref()
        .and_then(|(build, _)| build.task(&lease_id.task))
        .ok_or_else(|| over(&lease_id))?;
    if has(task, &runner, &lease_id) {
        files::are_here(&desk, &outcome, roots).await?;
    } else if !had(task, &runner, &lease_id) {
        return Err(over(&lease_id));
    }
    let answer = word(&outcome);
    let event = Event::Report {
        task: lease_id.task.clone(),
        lease: lease_id.number,
        outcome,
        roots,
    };
    // Where the answer to an earlier report was lost on the way, it is made again.
    tell_build(&desk.state, &lease_id.build, event, (desk.clock)()).await?;
    info!(outcome = answer, "a task is answered");
    log::end(&desk, &lease_id).await?;
    Ok(StatusCode::OK)
}
