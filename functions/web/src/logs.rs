//! Logs over HTTP, as text: whole, their end, or as they grow.

use crate::Web;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Extension};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use millrace_core::Digest;
use millrace_store::{BlobError, BlobStore, StateStore};
use millrace_view::{AttemptLog, log_bytes};
use serde::Deserialize;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How often a reader who follows a log is shown what is new: as quick as reading goes, and two small reads of the store.
const POLL: Duration = Duration::from_millis(500);

/// Bytes that a reader who follows a log is sent at once; the rest of what is there follows without a pause.
const FOLLOWED_BYTES: u64 = 1 << 20;

/// Most readers who follow a log at once. Each has the store read four times a second, also while nothing is written.
const FOLLOWERS_MAX: usize = 100;

/// Longest that a log is followed: most builds are done by then, and who has gone without hanging up does not stay for good.
const FOLLOWED_MAX: Duration = Duration::from_secs(3600);

/// What stands at the end of a log that was followed for so long.
const FOLLOWED_TOO_LONG: &str =
    "\n==> followed for an hour; the log goes on: ask again to see the rest\n";

/// Chunks read from the store ahead of the reader: chunks are small at first, and a store in the cloud takes some 20 ms for each. They have
/// at most 4 MiB each (see the lease desk), so 32 MiB.
const CHUNKS_AHEAD: usize = 8;

/// The places for those who follow logs.
#[derive(Clone)]
pub(crate) struct Followers(Arc<Semaphore>);

impl Default for Followers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(FOLLOWERS_MAX)))
    }
}

impl Followers {
    fn enter(self) -> Result<OwnedSemaphorePermit, Problem> {
        self.0.try_acquire_owned().map_err(|_| {
            Problem::Busy(format!(
                "{FOLLOWERS_MAX} readers follow logs, which is the limit: try again in a minute, or read what there is without `follow=1`."
            ))
        })
    }
}

#[derive(Deserialize)]
pub(crate) struct LogQuery {
    /// Number of the attempt; the latest if none is given.
    pub(crate) attempt: Option<String>,
    /// Only the last so many bytes of what is there.
    tail: Option<String>,
    /// Only what comes after so many bytes.
    from: Option<String>,
    /// `1` for what is written later as well, until the attempt ends.
    follow: Option<String>,
}

/// A log as text.
pub(crate) async fn text<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Extension(followers): Extension<Followers>,
    Path((build, task)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Problem> {
    let log = AttemptLog::find(&web.state, &build, &task, query.attempt.as_deref()).await?;
    let size = log.index.size();
    let tail = bytes("tail", query.tail)?.map_or(0, |tail| size.saturating_sub(tail));
    let from = bytes("from", query.from)?
        .unwrap_or(0)
        .clamp(tail, size.max(tail));
    let content_type = (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
    if query.follow.as_deref() == Some("1") && log.is_growing() && web.part_bytes.is_none() {
        // nginx would collect what comes slowly; this header (its documentation, proxy_buffering) tells it not to.
        let headers = [
            content_type,
            (
                HeaderName::from_static("x-accel-buffering"),
                "no".to_owned(),
            ),
        ];
        let lines = followed(web, log, from, followers.enter()?);
        return Ok((headers, Body::from_stream(lines)).into_response());
    }
    let to = web
        .part_bytes
        .map_or(size, |bytes| size.min(from.saturating_add(bytes)));
    let parts = log_bytes(&log.index, from..to);
    let headers = [
        content_type,
        (header::CONTENT_LENGTH, (to - from).to_string()),
    ];
    let next = format!("<log.txt?attempt={}&from={to}>; rel=\"next\"", log.attempt);
    let next = (to < size || log.is_growing()).then_some([(header::LINK, next)]);
    Ok((headers, next, Body::from_stream(read(web.blobs, parts))).into_response())
}

/// A number of bytes that a reader asked for.
fn bytes(name: &str, said: Option<String>) -> Result<Option<u64>, Problem> {
    said.map(|said| {
        said.parse()
            .map_err(|_| Problem::Bad(format!("`{name}` is no number of bytes.")))
    })
    .transpose()
}

/// A log from `from` on, until its attempt has ended or it was followed for long enough. Nothing is read while the reader takes
/// nothing. The place of the reader is free again when the stream is dropped.
fn followed<S: StateStore, B: BlobStore>(
    web: Web<S, B>,
    log: AttemptLog,
    from: u64,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Vec<u8>, BoxError>> {
    let until = Instant::now() + FOLLOWED_MAX;
    stream::try_unfold(Some((web, log, from, place)), move |following| async move {
        let Some((web, mut log, at, place)) = following else {
            return Ok(None);
        };
        loop {
            let grows = log.refresh(&web.state).await?;
            let to = log.index.size().min(at + FOLLOWED_BYTES);
            if to > at {
                let bytes = read_all(&web.blobs, log_bytes(&log.index, at..to)).await?;
                return Ok(Some((bytes, Some((web, log, to, place)))));
            }
            if !grows {
                return Ok(None);
            }
            if Instant::now() >= until {
                return Ok(Some((FOLLOWED_TOO_LONG.as_bytes().to_vec(), None)));
            }
            tokio::time::sleep(POLL).await;
        }
    })
}

fn read<B: BlobStore>(
    blobs: B,
    parts: Vec<(Digest, Range<u64>)>,
) -> impl Stream<Item = Result<Vec<u8>, BlobError>> + Send {
    let read = move |(digest, range)| {
        let blobs = blobs.clone();
        async move { blobs.read(&digest, range).await }
    };
    stream::iter(parts).map(read).buffered(CHUNKS_AHEAD)
}

pub(crate) async fn read_all(
    blobs: &impl BlobStore,
    parts: Vec<(Digest, Range<u64>)>,
) -> Result<Vec<u8>, BlobError> {
    read(blobs.clone(), parts).try_concat().await
}
