//! Fetches what was pushed, with every byte that a build starts from.
//!
//! The listener writes down a push together with the order to fetch it. [`fetch`](fn@fetch) acts on that order: git2 fetches the
//! commit, [`lookaside`] finds the sources that it names by digest, both are kept under their digests, and the orchestrator is told
//! to plan.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "tests end where something is not as it should be"
    )
)]

pub mod checkout;
mod deliver;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod lookaside;

pub use checkout::{FetchError, Fetcher, fetch, give_up};
pub use deliver::PushFetcher;
pub use lookaside::{Offered, Template, offer_source};
