//! Logs as text: whole, their end, or as they grow.

use crate::Web;
use crate::find::{self, id};
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Extension};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use millrace_core::build::Build;
use millrace_core::log::LogIndex;
use millrace_core::task::{Task, TaskId};
use millrace_core::{BuildId, Digest};
use millrace_store::builds::load_build;
use millrace_store::records::get;
use millrace_store::{BlobError, BlobStore, StateError, StateStore, Table};
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
    "\n==> followed for an hour, and it goes on: ask again to see the rest\n";

/// Chunks read from the store ahead of the reader: chunks are small at first, and a store in the cloud takes some 20 ms for
/// each; at most 4 MiB each (see the lease desk), so 32 MiB.
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
                "{FOLLOWERS_MAX} readers follow logs, and no more can: try again in a minute, or ask without `follow=1` for what there is."
            ))
        })
    }
}

#[derive(Deserialize)]
pub(crate) struct Which {
    /// Number of the attempt; the latest where none is given.
    pub(crate) attempt: Option<String>,
    /// Only the last so many bytes of what is there.
    tail: Option<String>,
    /// Only what comes after so many bytes.
    from: Option<String>,
    /// `1` for what is written later as well, until the attempt ends.
    follow: Option<String>,
}

/// The log of an attempt, and what it is of.
pub(crate) struct Log {
    pub(crate) build: Build,
    pub(crate) task: Task,
    pub(crate) attempt: u32,
    pub(crate) index: LogIndex,
}

impl Log {
    /// Whether something may be written to it yet.
    pub(crate) fn runs(&self) -> bool {
        is_leased(&self.task, self.attempt)
    }
}

fn is_leased(task: &Task, attempt: u32) -> bool {
    task.lease().is_some_and(|lease| lease.number.0 == attempt)
}

pub(crate) async fn find_log(
    state: &impl StateStore,
    build: &str,
    task: &str,
    attempt: Option<&str>,
) -> Result<Log, Problem> {
    let build_id: BuildId = id("build", build)?;
    let task_id: TaskId = id("task", task)?;
    let asked: Option<u32> = attempt.map(|attempt| id("attempt", attempt)).transpose()?;
    let build = find::record(state, &build_id).await?;
    let missing = || Problem::Missing(format!("Build {build_id} has no task “{task_id}”."));
    let task = build.task(&task_id).ok_or_else(missing)?.clone();
    let latest = task
        .latest_number()
        .ok_or_else(|| {
            Problem::Missing(format!(
                "No runner has taken {task_id} yet, so there is no log."
            ))
        })?
        .0;
    let attempt = asked.unwrap_or(latest);
    if attempt == 0 || attempt > latest {
        return Err(Problem::Missing(format!(
            "{task_id} has no attempt {attempt}; the latest is {latest}."
        )));
    }
    let index = index(state, &build_id, &task_id, attempt).await?;
    Ok(Log {
        build,
        task,
        attempt,
        index,
    })
}

/// An attempt that has said nothing yet has no index.
async fn index(
    state: &impl StateStore,
    build: &BuildId,
    task: &TaskId,
    attempt: u32,
) -> Result<LogIndex, StateError> {
    let found: Option<(LogIndex, _)> =
        get(state, Table::Log, &format!("{build}/{task}/{attempt}")).await?;
    Ok(found.map(|(index, _)| index).unwrap_or_default())
}

/// A log as text.
pub(crate) async fn text<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Extension(followers): Extension<Followers>,
    Path((build, task)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let log = find_log(&web.state, &build, &task, which.attempt.as_deref()).await?;
    let size = log.index.size();
    let tail = bytes("tail", which.tail)?.map_or(0, |tail| size.saturating_sub(tail));
    let from = bytes("from", which.from)?
        .unwrap_or(0)
        .clamp(tail, size.max(tail));
    let content_type = (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
    if which.follow.as_deref() == Some("1") && log.runs() && web.part_bytes.is_none() {
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
    let parts = part(&log.index, from..to);
    let headers = [
        content_type,
        (header::CONTENT_LENGTH, (to - from).to_string()),
    ];
    let next = format!("<log.txt?attempt={}&from={to}>; rel=\"next\"", log.attempt);
    let next = (to < size || log.runs()).then_some([(header::LINK, next)]);
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
    log: Log,
    from: u64,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Vec<u8>, BoxError>> {
    let until = Instant::now() + FOLLOWED_MAX;
    stream::try_unfold(Some((web, log, from, place)), move |following| async move {
        let Some((web, log, at, place)) = following else {
            return Ok(None);
        };
        loop {
            // First whether it runs, then what there is: nothing is written after the end, so nothing is missed.
            let runs = load_build(&web.state, &log.build.id)
                .await?
                .is_some_and(|(build, _)| {
                    build
                        .task(&log.task.id)
                        .is_some_and(|task| is_leased(task, log.attempt))
                });
            let index = index(&web.state, &log.build.id, &log.task.id, log.attempt).await?;
            let to = index.size().min(at + FOLLOWED_BYTES);
            if to > at {
                let bytes = read_all(&web.blobs, part(&index, at..to)).await?;
                return Ok(Some((bytes, Some((web, log, to, place)))));
            }
            if !runs || index.ended {
                return Ok(None);
            }
            if Instant::now() >= until {
                return Ok(Some((FOLLOWED_TOO_LONG.as_bytes().to_vec(), None)));
            }
            tokio::time::sleep(POLL).await;
        }
    })
}

/// Where some of a log's bytes lie, in order.
pub(crate) fn part(index: &LogIndex, wanted: Range<u64>) -> Vec<(Digest, Range<u64>)> {
    let mut parts = Vec::new();
    let mut at = 0;
    for chunk in &index.chunks {
        let (from, to) = (wanted.start.max(at), wanted.end.min(at + chunk.size));
        if from < to {
            parts.push((chunk.digest, from - at..to - at));
        }
        at += chunk.size;
    }
    parts
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

/// A log's bytes as people read it: without colours and other orders to a terminal, and of a line that was written over
/// and over (a progress bar) what stood there last.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    text.split_inclusive('\n')
        .map(|line| {
            plain(
                line.trim_end_matches('\r')
                    .rsplit('\r')
                    .next()
                    .unwrap_or_default(),
            )
        })
        .collect()
}

/// A line without control sequences (ECMA-48, 5.4: `ESC [`, parameters, one final byte from `@` to `~`).
fn plain(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.clone().next() == Some('[') => {
                rest.by_ref().skip(1).find(|c| ('@'..='~').contains(c));
            }
            '\n' | '\t' => kept.push(c),
            c if c.is_control() => {}
            c => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::log::Chunk;

    #[test]
    fn a_part_of_a_log_begins_and_ends_within_chunks() {
        let digest = |n: u8| Digest::of(&[n]);
        let chunk = |size, n| Chunk {
            size,
            digest: digest(n),
        };
        let index = LogIndex {
            chunks: vec![chunk(10, 1), chunk(10, 2), chunk(5, 3)],
            ended: true,
        };
        assert_eq!(
            part(&index, 17..25),
            [(digest(2), 7..10), (digest(3), 0..5)]
        );
        assert_eq!(
            part(&index, 10..25),
            [(digest(2), 0..10), (digest(3), 0..5)]
        );
        assert_eq!(part(&index, 3..7), [(digest(1), 3..7)]);
        assert_eq!(part(&index, 0..1000).len(), 3);
        assert!(part(&index, 25..25).is_empty() && part(&LogIndex::default(), 0..8).is_empty());
    }

    #[test]
    fn a_log_is_shown_without_colours_and_without_the_past_of_progress_bars() {
        assert_eq!(
            readable(b"\x1b[1;31merror\x1b[0m: no\r\n 1%\r 50%\r100%\nend\x07\x1b["),
            "error: no\n100%\nend"
        );
        assert_eq!(readable(b"caf\xc3\xa9 \xff\n"), "café \u{fffd}\n");
    }
}
