//! The lease desk: runners ask for work here, keep their leases alive, send logs and files, and answer.

mod denied;
mod files;
mod hold;
mod lease;
mod log;
mod offer;
mod report;
mod speaker;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use millrace_core::platform::Repository;
use millrace_core::{PlatformName, Timestamp};
use millrace_store::{BlobStore, StateStore};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;

/// Largest JSON body, in bytes: a report with the most artifacts there may be has about 200 KB.
const JSON_BYTES_MAX: usize = 1 << 20;

/// What the desk works with.
#[derive(Clone)]
pub struct Desk<S, B> {
    pub state: S,
    pub blobs: B,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Rung when a task may be taken, so that waiting runners look again.
    pub ready: Arc<Notify>,
    /// Where a platform's released packages are found by runners, to be added to its repositories.
    pub released: Arc<dyn Fn(&PlatformName) -> Repository + Send + Sync>,
    /// A folder for files that are on their way in.
    pub incoming: PathBuf,
    /// How often runners come, where each time is paid for. None keeps those on the line that wait: that costs nothing where a process
    /// runs anyway.
    pub paces: Option<Paces>,
}

/// How often runners come.
#[derive(Debug, Clone, Copy)]
pub struct Paces {
    /// How long one that finds nothing waits before it asks again, in seconds.
    pub ask_again_s: u32,
    /// How long one that has sent a piece of a log waits before it sends the next, in seconds, unless that is long by then.
    pub log_pause_s: u32,
    /// How often one that works on a task says so, in seconds.
    pub renew_s: u32,
}

/// The routes of `protocol`.
pub fn router<S: StateStore, B: BlobStore>(desk: Desk<S, B>) -> Router {
    let json = Router::new()
        .route("/runner/v1/lease", post(lease::lease::<S, B>))
        .route("/runner/v1/renew", post(report::renew::<S, B>))
        .route("/runner/v1/report", post(report::report::<S, B>))
        .route("/runner/v1/upload", post(files::place::<S, B>))
        .route("/runner/v1/holds", post(hold::attend::<S, B>))
        .route("/runner/v1/typed", post(hold::listen::<S, B>))
        .route("/runner/v1/printed", post(hold::print::<S, B>))
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX));
    let bytes = Router::new()
        .route("/runner/v1/log", post(log::append::<S, B>))
        .layer(DefaultBodyLimit::max(log::CHUNK_BYTES_MAX))
        .route(
            "/runner/v1/blobs/{digest}",
            get(files::download::<S, B>)
                .put(files::upload::<S, B>)
                .layer(DefaultBodyLimit::disable()),
        );
    json.merge(bytes).with_state(desk)
}
