//! Acts on messages that want a push fetched.

use crate::fetch::{fetch, give_up};
use crate::fetcher::Fetcher;
use millrace_core::order::Effect;
use millrace_core::push::Announced;
use millrace_store::{BlobStore, Deliver, DeliverError, StateStore};

/// Fetches what was announced.
#[derive(Debug, Clone, Copy)]
pub struct PushFetcher<'a, S, B> {
    pub fetcher: &'a Fetcher,
    /// Where pushes are written down.
    pub state: &'a S,
    /// Where trees and sources are kept.
    pub blobs: &'a B,
}

impl<S: StateStore, B: BlobStore> Deliver for PushFetcher<'_, S, B> {
    async fn act(&self, effect: &Effect) -> Result<(), DeliverError> {
        fetch(announced(effect)?, self.fetcher, self.state, self.blobs)
            .await
            .map_err(DeliverError::trouble)
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), DeliverError> {
        give_up(announced(effect)?, reason, self.state)
            .await
            .map_err(DeliverError::trouble)
    }
}

fn announced(effect: &Effect) -> Result<&Announced, DeliverError> {
    match effect {
        Effect::Fetch(announced) => Ok(announced),
        other => Err(DeliverError::misdirected(other)),
    }
}
