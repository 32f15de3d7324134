//! Acts on messages that want packages signed.

use crate::{Keys, give_up, sign};
use millrace_core::Timestamp;
use millrace_core::order::{Effect, SignOrder};
use millrace_store::{BlobStore, Deliver, DeliverError, StateStore};

/// Acts on sign orders.
#[derive(Debug, Clone, Copy)]
pub struct OrderSigner<'a, K, S, B> {
    /// What it signs with.
    pub keys: &'a K,
    /// Where the builds are that it tells.
    pub state: &'a S,
    /// Where the packages are.
    pub blobs: &'a B,
    pub now: Timestamp,
}

impl<K: Keys, S: StateStore, B: BlobStore> Deliver for OrderSigner<'_, K, S, B> {
    async fn act(&self, effect: &Effect) -> Result<(), DeliverError> {
        sign(order(effect)?, self.keys, self.state, self.blobs, self.now)
            .await
            .map(drop)
            .map_err(DeliverError::trouble)
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), DeliverError> {
        give_up(order(effect)?, reason, self.state, self.now)
            .await
            .map_err(DeliverError::trouble)
    }
}

fn order(effect: &Effect) -> Result<&SignOrder, DeliverError> {
    match effect {
        Effect::Sign(order) => Ok(order),
        other => Err(DeliverError::misdirected(other)),
    }
}
