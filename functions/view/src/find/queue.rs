//! Finds what waits, and the runners that it waits for.

use super::list::LIST_ENTRIES;
use crate::error::ViewError;
use crate::queue::{RunnerView, WaitingView};
use millrace_core::Timestamp;
use millrace_store::StateStore;
use millrace_store::queue::outlook;
use millrace_store::runner_status::runner_statuses;

/// Tasks that could be done, in the order in which they will be taken: as many as a part of a list has.
pub async fn waiting(
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Vec<WaitingView>, ViewError> {
    let outlooks = outlook(state, LIST_ENTRIES, now).await?;
    Ok(outlooks.into_iter().map(WaitingView::of).collect())
}

/// Runners that asked for work in the last days: those that work first, then those that wait.
pub async fn runners(
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Vec<RunnerView>, ViewError> {
    let mut runners = runner_statuses(state, now).await?;
    runners.sort_by_key(|runner| (runner.at.is_none(), !runner.is_present));
    Ok(runners.into_iter().map(RunnerView::of).collect())
}
