//! Acts on messages that want something fetched: a push, or the names in a platform's repositories.

use crate::fetch::{fetch, give_up};
use crate::fetcher::Fetcher;
use crate::repositories::fetch_names;
use millrace_core::Timestamp;
use millrace_core::order::Effect;
use millrace_core::push::Announced;
use millrace_store::{BlobStore, Deliver, DeliverError, StateStore};

/// Fetches what was announced.
#[derive(Debug, Clone, Copy)]
pub struct PushFetcher<'a, S, B> {
    pub fetcher: &'a Fetcher,
    /// Where pushes and platforms are written down.
    pub state: &'a S,
    /// Where trees and sources are kept.
    pub blobs: &'a B,
    pub now: Timestamp,
}

impl<S: StateStore, B: BlobStore> Deliver for PushFetcher<'_, S, B> {
    async fn act(&self, effect: &Effect) -> Result<(), DeliverError> {
        if let Effect::FetchNames { platform } = effect {
            return fetch_names(platform, self.fetcher, self.state, self.blobs, self.now)
                .await
                .map_err(DeliverError::trouble);
        }
        fetch(announced(effect)?, self.fetcher, self.state, self.blobs)
            .await
            .map_err(DeliverError::trouble)
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), DeliverError> {
        // Who waits for names has been told why they are not there, and asks for them again.
        if matches!(effect, Effect::FetchNames { .. }) {
            return Ok(());
        }
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
