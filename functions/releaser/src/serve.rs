//! Serves repositories over HTTP, as dnf and browsers ask for them.
//!
//! | path | what |
//! |---|---|
//! | `/<platform>/<platform>.repo` | the file for `/etc/yum.repos.d` |
//! | `/<platform>/RPM-GPG-KEY-millrace` | the public key |
//! | `/<platform>/<repository>/mirrorlist` | one line: the repository as it is now, under an address that never changes |
//! | `/<platform>/<repository>/…` | the repository as it is now |
//! | `/<platform>/gen/<digest>/<repository>/…` | the repository as it was in one generation |
//!
//! `repomd.xml` and its signature are two files: a client that fetched one before a release and the other after it would find
//! them at odds. A client that goes by the mirror list reads both from one generation.

mod cache;
mod file;
mod path;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cache::GenerationCache;
use millrace_core::address;
use millrace_core::chain;
use millrace_store::BlobStore;
use path::{PathContent, find};
use std::sync::Arc;
use tracing::error;

/// Where the routes are nested.
const MOUNT: &str = "/repo";

/// What repeats the address that a visitor says it came by is for that visitor alone: kept by a cache, one made-up
/// `X-Forwarded-Host` would send everybody else to another server. `Vary` would not do, for many caches respect it for
/// `Accept-Encoding` only; and the texts are so short that asking for them every time costs nothing.
const FOR_ONE_VISITOR: &str = "no-store";

/// What requests are answered from.
#[derive(Clone)]
struct RepositoryServer<B> {
    generations: GenerationCache<B>,
    /// The address of all repositories, if the line knows it.
    base: Option<Arc<str>>,
}

/// The routes, to be nested at `/repo`. `url` is the address of the line without a slash at its end; if it is not known, each
/// client is told the one that it came by.
pub fn router<B: BlobStore>(blobs: B, url: Option<String>) -> Router {
    let server = RepositoryServer {
        generations: GenerationCache::new(blobs),
        base: url.map(|url| format!("{url}{MOUNT}").into()),
    };
    Router::new()
        .route("/{platform}/{*path}", get(serve::<B>))
        .with_state(server)
}

async fn serve<B: BlobStore>(
    State(server): State<RepositoryServer<B>>,
    method: Method,
    Path((platform, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let RepositoryServer { generations, base } = server;
    let base = base.map_or_else(|| base_url(&headers), |base| base.to_string());
    match find(&generations, &platform, &path, &base).await {
        Ok(PathContent::Text(text)) => {
            let kinds = [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::CACHE_CONTROL, FOR_ONE_VISITOR),
            ];
            (kinds, text).into_response()
        }
        Ok(PathContent::File(file, cache)) => {
            file::send(generations.blobs, &method, &headers, file, &path, cache).await
        }
        Ok(PathContent::Nothing) => (
            StatusCode::NOT_FOUND,
            format!("platform {platform} has no {path}\n"),
        )
            .into_response(),
        Err(error) => trouble(&error),
    }
}

/// The answer if a store failed. Its cause is in the log, for the operator.
fn trouble(error: &(dyn std::error::Error + 'static)) -> Response {
    error!(problem = chain(error), "a repository cannot be served");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response()
}

/// Where the client reached these repositories.
fn base_url(headers: &HeaderMap) -> String {
    let line = address::base_url(|name| headers.get(name)?.to_str().ok());
    format!("{line}{MOUNT}")
}
