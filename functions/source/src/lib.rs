//! Fetches what was pushed, with every byte that a build starts from; and the names in platforms' repositories.
//!
//! The listener writes down a push together with the order to fetch it. [`fetch`](fn@fetch) acts on that order: git2 fetches the
//! commit, lookaside stores give the sources that it names by digest, all of it is kept under its digest, and the orchestrator is
//! told to plan.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "tests end where something is not as it should be"
    )
)]

mod client;
mod deliver;
mod digests;
mod download;
mod error;
mod fetch;
mod fetcher;
mod git;
#[cfg(feature = "lambda")]
pub mod lambda;
mod lookaside;
mod reference;
mod repositories;
mod template;

pub use deliver::PushFetcher;
pub use error::{DownloadError, FetchError, NamesFetchError, Refusal};
pub use fetch::{fetch, give_up};
pub use fetcher::{Bounds, Fetcher};
pub use lookaside::{UploadedSource, upload_source};
pub use reference::{ReferenceError, reference};
pub use template::{Template, TemplateError};
