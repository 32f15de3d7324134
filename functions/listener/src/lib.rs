//! The front door of the line: webhooks come in, pushes go out with every byte that a build starts from.
//!
//! [`router`] answers what forges say, one file per forge below [`forge`]. A push is written down together with the wish
//! to fetch it, so nothing that was accepted is lost. [`checkout`] acts on that wish: git2 fetches the commit, [`lookaside`]
//! finds the sources that it names by digest, and the orchestrator is told to plan.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "tests end where something is not as it should be"
    )
)]

pub mod answer;
pub mod checkout;
mod deliver;
pub mod forge;
mod hooks;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod lookaside;
mod secret;

pub use checkout::{FetchError, Fetcher, fetch, give_up};
pub use deliver::PushFetcher;
pub use hooks::{BODY_BYTES_MAX, Clock, Listener, router};
pub use lookaside::{Offered, Template, offer_source};
pub use secret::{Secret, SecretError};
