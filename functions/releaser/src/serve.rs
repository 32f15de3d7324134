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
//! them at odds. Whoever goes by the mirror list reads both from one generation.

mod file;

use crate::ReleaseError;
use crate::generation::file::FileRef;
use crate::generation::manifest::Generation;
use crate::generation::root::{generation, root, was_made};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use millrace_core::{Digest, PlatformName};
use millrace_store::BlobStore;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the routes are nested.
const MOUNT: &str = "/repo";

/// Name of the file with the public keys.
const KEY_FILE: &str = "RPM-GPG-KEY-millrace";

/// What may change with the next release or a rollback is asked for again after a minute, what is named by its content or lies in
/// one generation never.
const CHANGES: &str = "max-age=60, must-revalidate";
const STAYS: &str = "max-age=31536000, immutable";

/// What repeats the address that a visitor says it came by is for that visitor alone: kept by a cache, one made-up
/// `X-Forwarded-Host` would send everybody else to another server. `Vary` would not do, for many caches heed it for
/// `Accept-Encoding` only; and the texts are so short that asking for them every time costs nothing.
const FOR_ONE_VISITOR: &str = "no-store";

/// Generations kept at hand, since reading one takes longer than most requests: some platforms' current ones, and those before
/// them that clients are still busy with. Each may have some tens of megabytes.
const AT_HAND_MAX: usize = 8;

/// The routes, to be nested at `/repo`. `url` is the address of the line without a slash at its end; where it is not known, each
/// client is told the one that it came by.
pub fn router<B: BlobStore>(blobs: B, url: Option<String>) -> Router {
    let base = url.map(|url| format!("{url}{MOUNT}").into());
    Router::new()
        .route("/{platform}/{*path}", get(serve::<B>))
        .with_state(Shelf {
            blobs,
            base,
            at_hand: Arc::default(),
        })
}

/// Generations, read once.
#[derive(Clone)]
struct Shelf<B> {
    blobs: B,
    base: Option<Arc<str>>,
    at_hand: Arc<Mutex<AtHand>>,
}

/// By their digests; the one asked for last is at the back.
type AtHand = VecDeque<(Digest, Arc<Generation>)>;

impl<B: BlobStore> Shelf<B> {
    /// What a platform has released now.
    async fn current(
        &self,
        platform: &PlatformName,
    ) -> Result<Option<(Digest, Arc<Generation>)>, ReleaseError> {
        let Some(root) = root(platform, &self.blobs).await? else {
            return Ok(None);
        };
        let digest = root.released.generation;
        Ok(Some((digest, self.generation(platform, &digest).await?)))
    }

    /// What a platform had released once; none where a releaser never made such a generation.
    async fn made(
        &self,
        platform: &PlatformName,
        digest: &Digest,
    ) -> Result<Option<Arc<Generation>>, ReleaseError> {
        if was_made(platform, digest, &self.blobs).await? {
            self.generation(platform, digest).await.map(Some)
        } else {
            Ok(None)
        }
    }

    async fn generation(
        &self,
        platform: &PlatformName,
        digest: &Digest,
    ) -> Result<Arc<Generation>, ReleaseError> {
        let taken = self.take(digest);
        let generation = match taken {
            Some(generation) => generation,
            None => Arc::new(generation(platform, digest, &self.blobs).await?),
        };
        self.put(*digest, Arc::clone(&generation));
        Ok(generation)
    }

    fn take(&self, digest: &Digest) -> Option<Arc<Generation>> {
        let at_hand = self.at_hand();
        at_hand
            .iter()
            .find(|(there, _)| there == digest)
            .map(|(_, generation)| Arc::clone(generation))
    }

    fn put(&self, digest: Digest, generation: Arc<Generation>) {
        let mut at_hand = self.at_hand();
        at_hand.retain(|(there, _)| *there != digest);
        at_hand.push_back((digest, generation));
        if at_hand.len() > AT_HAND_MAX {
            at_hand.pop_front();
        }
    }

    fn at_hand(&self) -> MutexGuard<'_, AtHand> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve<B: BlobStore>(
    State(shelf): State<Shelf<B>>,
    method: Method,
    Path((platform, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let base = shelf
        .base
        .as_deref()
        .map_or_else(|| base_url(&headers), str::to_owned);
    match find(&shelf, &platform, &path, &base).await {
        Ok(Found::Text(text)) => {
            let kinds = [
                (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
                (header::CACHE_CONTROL, FOR_ONE_VISITOR),
            ];
            (kinds, text).into_response()
        }
        Ok(Found::File(file, cache)) => {
            file::send(shelf.blobs, &method, &headers, file, &path, cache).await
        }
        Ok(Found::Nothing) => (
            StatusCode::NOT_FOUND,
            format!("platform {platform} has no {path}\n"),
        )
            .into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

enum Found {
    Text(String),
    File(FileRef, &'static str),
    Nothing,
}

async fn find<B: BlobStore>(
    shelf: &Shelf<B>,
    platform: &str,
    path: &str,
    base: &str,
) -> Result<Found, ReleaseError> {
    let Ok(name) = platform.parse::<PlatformName>() else {
        return Ok(Found::Nothing);
    };
    if let Some((digest, rest)) = path
        .strip_prefix("gen/")
        .and_then(|path| path.split_once('/'))
    {
        let Ok(digest) = Digest::from_hex(digest) else {
            return Ok(Found::Nothing);
        };
        let then = shelf.made(&name, &digest).await?;
        return Ok(then
            .and_then(|then| then.file(rest))
            .map_or(Found::Nothing, |file| Found::File(file, STAYS)));
    }
    let Some((digest, now)) = shelf.current(&name).await? else {
        return Ok(Found::Nothing);
    };
    if path == KEY_FILE {
        return Ok(Found::File(now.certificate, CHANGES));
    }
    if path == format!("{name}.repo") {
        return Ok(Found::Text(repo_file(&name, base)));
    }
    if let Some(repository) = path
        .strip_suffix("/mirrorlist")
        .filter(|repository| now.repositories.contains_key(*repository))
    {
        return Ok(Found::Text(format!(
            "{base}/{name}/gen/{}/{repository}/\n",
            digest.hex()
        )));
    }
    Ok(now.file(path).map_or(Found::Nothing, |file| {
        Found::File(
            file,
            if is_named_by_content(path) {
                STAYS
            } else {
                CHANGES
            },
        )
    }))
}

/// Whether a path of the repository as it is now never means other bytes: only metadata has its digest in its name. A package
/// has not: after a rollback, its name and version may come back with other content.
fn is_named_by_content(path: &str) -> bool {
    path.contains("/repodata/") && path.ends_with(".xml.gz")
}

/// How the client reached us.
fn base_url(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = |host: &&str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c))
    };
    let host = text("x-forwarded-host")
        .or_else(|| text("host"))
        .filter(plain)
        .unwrap_or("localhost");
    let scheme = text("x-forwarded-proto")
        .filter(|scheme| *scheme == "https")
        .unwrap_or("http");
    format!("{scheme}://{host}{MOUNT}")
}

/// The file for `/etc/yum.repos.d`.
fn repo_file(platform: &PlatformName, base: &str) -> String {
    let section = |suffix: &str, title: &str, path: &str, enabled: u8| {
        format!(
            "[millrace-{platform}{suffix}]\nname=millrace {platform}{title}\nmirrorlist={base}/{platform}/{path}/mirrorlist\n\
             #baseurl={base}/{platform}/{path}/\nenabled={enabled}\ngpgcheck=1\nrepo_gpgcheck=1\n\
             gpgkey={base}/{platform}/{KEY_FILE}\nmetadata_expire=60\n"
        )
    };
    let main = section("", "", "$basearch/os", 1);
    let debug = section("-debug", " - debuginfo", "$basearch/debug", 0);
    let source = section("-source", " - sources", "source", 0);
    [main, debug, source].join("\n")
}
