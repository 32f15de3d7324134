//! Logs and files, streamed from the blob store as text and as downloads: nothing that was pushed is ever shown as a page.

use crate::Web;
use crate::find::{self, id};
use crate::problem::Problem;
use crate::view::segment;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use millrace_core::build::Build;
use millrace_core::log::LogIndex;
use millrace_core::task::{Task, TaskId};
use millrace_core::{BuildId, Digest};
use millrace_store::records::get;
use millrace_store::{BlobStore, StateStore, Table, pieces};
use serde::Deserialize;
use std::ops::Range;

#[derive(Deserialize)]
pub(crate) struct Which {
    /// Number of the attempt; the latest where none is given.
    pub(crate) attempt: Option<String>,
    /// The task that handed a file over, where several have files of its name.
    task: Option<String>,
}

/// The log of an attempt, and what it is of.
pub(crate) struct Log {
    pub(crate) build: Build,
    pub(crate) task: Task,
    pub(crate) attempt: u32,
    pub(crate) index: LogIndex,
}

pub(crate) async fn find_log(state: &impl StateStore, build: &str, task: &str, attempt: Option<&str>) -> Result<Log, Problem> {
    let build_id: BuildId = id("build", build)?;
    let task_id: TaskId = id("task", task)?;
    let asked: Option<u32> = attempt.map(|attempt| id("attempt", attempt)).transpose()?;
    let build = find::record(state, &build_id).await?;
    let missing = || Problem::Missing(format!("Build {build_id} has no task “{task_id}”."));
    let task = build.task(&task_id).ok_or_else(missing)?.clone();
    let latest =
        task.latest_number().ok_or_else(|| Problem::Missing(format!("No runner has taken {task_id} yet, so there is no log.")))?.0;
    let attempt = asked.unwrap_or(latest);
    if attempt == 0 || attempt > latest {
        return Err(Problem::Missing(format!("{task_id} has no attempt {attempt}; the latest is {latest}.")));
    }
    // An attempt that has said nothing yet has no index.
    let index: Option<(LogIndex, _)> = get(state, Table::Log, &format!("{build_id}/{task_id}/{attempt}")).await?;
    Ok(Log { build, task, attempt, index: index.map(|(index, _)| index).unwrap_or_default() })
}

/// The whole of a log, as far as it goes.
pub(crate) async fn log<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path((build, task)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let log = find_log(&web.state, &build, &task, which.attempt.as_deref()).await?;
    let size = log.index.size();
    let parts = log.index.chunks.into_iter().map(|chunk| (chunk.digest, 0..chunk.size));
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, streamed(web.blobs, parts.collect())).into_response())
}

/// A file that a task handed over.
pub(crate) async fn artifact<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path((build, name)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let build = find::record(&web.state, &id("build", &build)?).await?;
    let task: Option<TaskId> = which.task.map(|task| id("task", &task)).transpose()?;
    let of_task = |candidate: &&Task| task.as_ref().is_none_or(|task| candidate.id == *task);
    let found = build.tasks.iter().filter(of_task).flat_map(Task::artifacts).find(|artifact| artifact.name == name);
    let artifact = found.ok_or_else(|| Problem::Missing(format!("Build {} has no file of that name.", build.id)))?;
    let size = web.blobs.size(&artifact.digest).await?.ok_or(millrace_store::BlobError::Missing(artifact.digest))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", segment(&artifact.name).replace('@', "%40"))),
        (header::ETAG, format!("\"{}\"", artifact.digest.hex())),
    ];
    Ok((headers, streamed(web.blobs, vec![(artifact.digest, 0..size)])).into_response())
}

/// Ranges of blobs, one after the other, read as they are taken.
fn streamed<B: BlobStore>(blobs: B, parts: Vec<(Digest, Range<u64>)>) -> Body {
    Body::from_stream(stream::iter(parts).flat_map(move |(digest, range)| Box::pin(pieces(blobs.clone(), digest, range))))
}

/// Where the last bytes of a log lie, in order.
pub(crate) fn tail(index: &LogIndex, bytes_max: u64) -> Vec<(Digest, Range<u64>)> {
    let mut left = bytes_max;
    let mut parts = Vec::new();
    for chunk in index.chunks.iter().rev() {
        let taken = chunk.size.min(left);
        if taken == 0 {
            break;
        }
        parts.push((chunk.digest, chunk.size - taken..chunk.size));
        left -= taken;
    }
    parts.reverse();
    parts
}

/// A log's bytes as people read it: without colours and other orders to a terminal, and of a line that was written over
/// and over (a progress bar) what stood there last.
pub(crate) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    text.split_inclusive('\n').map(|line| plain(line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default())).collect()
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
    fn a_tail_begins_in_the_middle_of_a_chunk_and_ends_at_the_end() {
        let digest = |n: u8| Digest::of(&[n]);
        let chunks = vec![
            Chunk { size: 10, digest: digest(1) },
            Chunk { size: 10, digest: digest(2) },
            Chunk { size: 5, digest: digest(3) },
        ];
        let index = LogIndex { chunks, ended: true };
        assert_eq!(tail(&index, 8), [(digest(2), 7..10), (digest(3), 0..5)]);
        assert_eq!(tail(&index, 15), [(digest(2), 0..10), (digest(3), 0..5)]);
        assert_eq!(tail(&index, 1000).len(), 3);
        assert!(tail(&LogIndex::default(), 8).is_empty());
    }

    #[test]
    fn a_log_is_shown_without_colours_and_without_the_past_of_progress_bars() {
        assert_eq!(readable(b"\x1b[1;31merror\x1b[0m: no\r\n 1%\r 50%\r100%\nend\x07\x1b["), "error: no\n100%\nend");
        assert_eq!(readable(b"caf\xc3\xa9 \xff\n"), "café \u{fffd}\n");
    }
}
