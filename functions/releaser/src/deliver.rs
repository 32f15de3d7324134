//! Acts on messages that want packages released, or the names of released ones claimed.

use crate::{Seal, claim_released, give_up, release};
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
        match effect {
            Effect::ClaimReleased { platform } => {
                claim_released(platform, self.state, self.blobs, self.now).await
            }
            effect => release(order(effect)?, self.seal, self.state, self.blobs, self.now).await,
        }
        .map_err(DeliverError::trouble)
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), DeliverError> {
        // Who waits for an inventory asks for it again.
        if matches!(effect, Effect::ClaimReleased { .. }) {
            return Ok(());
        }
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
