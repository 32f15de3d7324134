//! Acts on messages that want packages released.

use crate::{Seal, give_up, release};
use millrace_core::Timestamp;
use millrace_core::order::{Effect, ReleaseOrder};
use millrace_store::{BlobStore, Deliver, DeliverError, StateStore};

/// Acts on release orders.
#[derive(Debug, Clone, Copy)]
pub struct OrderReleaser<'a, L, S, B> {
    pub seal: &'a L,
    /// Where the builds are that it tells.
    pub state: &'a S,
    /// Where packages and repositories are.
    pub blobs: &'a B,
    pub now: Timestamp,
}

impl<L: Seal, S: StateStore, B: BlobStore> Deliver for OrderReleaser<'_, L, S, B> {
    async fn act(&self, effect: &Effect) -> Result<(), DeliverError> {
        release(order(effect)?, self.seal, self.state, self.blobs, self.now)
            .await
            .map_err(DeliverError::trouble)
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), DeliverError> {
        give_up(order(effect)?, reason, self.state, self.blobs, self.now)
            .await
            .map_err(DeliverError::trouble)
    }
}

fn order(effect: &Effect) -> Result<&ReleaseOrder, DeliverError> {
    match effect {
        Effect::Release(order) => Ok(order),
        other => Err(DeliverError::misdirected(other)),
    }
}
