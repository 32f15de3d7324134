//! Pages and JSON of the line. Nothing here writes.
//!
//! | path | what |
//! |---|---|
//! | `/` | builds, and pushes without builds, the newest first |
//! | `/builds/{id}` | a build: its tasks, their attempts, its files |
//! | `/builds/{id}/tasks/{task}/log?attempt=` | the end of a log in a page |
//! | `…/log.txt?attempt=&tail=&from=&follow=1` | all of a log as text, its last bytes, those from one on, or as it grows; if it comes in parts, `Link` names the next |
//! | `/builds/{id}/files/{name}` | a file that a task handed over |
//! | `/packages`, `/packages/{name}` | packages, and how far each is on each platform |
//! | `/platforms`, `/platforms/{name}` | platforms |
//! | `/queue` | tasks that wait for a runner, how long and for what; the runners |
//! | `/pushes/{id}` | a push, and its builds |
//! | `/api/v1/…` | the same as JSON, in the shape of [`millrace_view`] |
//!
//! What a push brings (subjects, logs, files) is hostile until shown otherwise: text is escaped by `maud`, files are only ever
//! handed out as downloads, and no page may run script or be framed.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod api;
mod files;
#[cfg(feature = "lambda")]
pub mod lambda;
mod layout;
mod logs;
mod pages;
mod problem;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use millrace_core::Timestamp;
use millrace_store::{BlobStore, StateStore};
use std::sync::Arc;
use tracing::{Instrument, info_span};

/// What the pages need.
#[derive(Clone)]
pub struct Web<S, B> {
    /// Builds, pushes, packages, platforms.
    pub state: S,
    pub blobs: B,
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Most bytes of a log in one answer, if an answer must be complete before any of it is sent: a long log then comes in parts,
    /// and none is followed.
    pub part_bytes: Option<u64>,
    /// The address of the line, for commands to copy; if it is not known, visitors are shown the one that they came by.
    pub url: Option<String>,
}

impl<S, B> Web<S, B> {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// All routes, to be merged at the root: pages link to `/…` and to the repositories at `/repo/…`. It brings the fallback that
/// says in words that there is no such page.
pub fn router<S: StateStore, B: BlobStore>(web: Web<S, B>) -> Router {
    Router::new()
        .route("/", get(pages::builds::<S, B>))
        .route("/builds/{id}", get(pages::build::<S, B>))
        .route("/builds/{id}/tasks/{task}/log", get(pages::log::<S, B>))
        .route(
            "/builds/{id}/tasks/{task}/log.txt",
            get(logs::text::<S, B>).layer(Extension(logs::Followers::default())),
        )
        .route("/builds/{id}/tasks/{task}/roots", get(pages::roots::<S, B>))
        .route("/builds/{id}/files/{name}", get(files::artifact::<S, B>))
        .route("/packages", get(pages::packages::<S, B>))
        .route("/packages/{name}", get(pages::package::<S, B>))
        .route("/platforms", get(pages::platforms::<S, B>))
        .route("/platforms/{name}", get(pages::platform::<S, B>))
        .route("/pushes/{id}", get(pages::push::<S, B>))
        .route("/queue", get(pages::queue::<S, B>))
        .route("/style.css", get(style))
        .nest("/api/v1", api::router())
        .fallback(problem::no_such_page)
        .layer(map_response(harden))
        .layer(from_fn(in_span))
        .with_state(web)
}

/// What goes wrong with an answer is in the log with its address.
async fn in_span(request: Request, next: Next) -> Response {
    let span = info_span!("page", path = request.uri().path());
    next.run(request).instrument(span).await
}

const STYLE: &str = include_str!("style.css");

async fn style() -> impl IntoResponse {
    // The link to it names its digest, so that a new one is fetched at once.
    (
        [
            (header::CONTENT_TYPE, "text/css; charset=utf-8"),
            (header::CACHE_CONTROL, "max-age=31536000, immutable"),
        ],
        STYLE,
    )
}

/// Says with every answer what a browser may do with it: show it with our style, and nothing else.
async fn harden(mut response: Response) -> Response {
    let said = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in said {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}
