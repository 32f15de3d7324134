//! Acts on messages that want builds planned and tasks taken.

use crate::{give_up, plan};
use millrace_core::Timestamp;
use millrace_core::order::Effect;
use millrace_store::{Deliver, DeliverError, StateStore};
use std::future::Future;
use tokio::sync::Notify;

/// The runners that take tasks, as far as somebody must see to it that they do.
pub trait RunnerPool: Send + Sync {
    /// There are tasks to take.
    fn tasks_are_ready(&self) -> impl Future<Output = Result<(), DeliverError>> + Send;
}

/// Runners that wait on the line look again.
impl RunnerPool for Notify {
    async fn tasks_are_ready(&self) -> Result<(), DeliverError> {
        self.notify_waiters();
        Ok(())
    }
}

/// Plans builds, and sees to it that their tasks are taken.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'a, S, P> {
    /// Where pushes and builds are.
    pub state: &'a S,
    pub runners: &'a P,
    pub now: Timestamp,
}

impl<S: StateStore, P: RunnerPool> Deliver for Planner<'_, S, P> {
    async fn act(&self, effect: &Effect) -> Result<(), DeliverError> {
        match effect {
            Effect::Plan(push) => plan(push, self.state, self.now)
                .await
                .map_err(DeliverError::trouble),
            Effect::Ready { .. } => self.runners.tasks_are_ready().await,
            Effect::Ended { .. } => Ok(()),
            Effect::Fetch(_)
            | Effect::FetchNames { .. }
            | Effect::Sign(_)
            | Effect::Release(_)
            | Effect::ClaimReleased { .. }
            | Effect::Unreadable(_) => Err(DeliverError::misdirected(effect)),
        }
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), DeliverError> {
        match effect {
            Effect::Plan(push) => give_up(push, reason, self.state, self.now)
                .await
                .map_err(DeliverError::trouble),
            // Time looks after tasks whether or not this message ever worked.
            Effect::Ready { .. } | Effect::Ended { .. } => Ok(()),
            Effect::Fetch(_)
            | Effect::FetchNames { .. }
            | Effect::Sign(_)
            | Effect::Release(_)
            | Effect::ClaimReleased { .. }
            | Effect::Unreadable(_) => Err(DeliverError::misdirected(effect)),
        }
    }
}
