//! Logs: which one is meant, where its bytes lie, and how it reads as text.

use crate::error::ViewError;
use crate::find::{build_record, parse_id};
use millrace_core::build::Build;
use millrace_core::log::LogIndex;
use millrace_core::task::{Task, TaskId};
use millrace_core::{BuildId, Digest};
use millrace_store::builds::load_build;
use millrace_store::records::get;
use millrace_store::{StateError, StateStore, Table};
use std::ops::Range;

/// The log of an attempt, and what it is of.
#[derive(Debug)]
pub struct AttemptLog {
    pub build: Build,
    pub task: Task,
    /// The number of the attempt.
    pub attempt: u32,
    /// Where its bytes lie.
    pub index: LogIndex,
}

impl AttemptLog {
    /// Finds the log of an attempt at a task, or of the latest attempt; all of it as a visitor spelled it.
    pub async fn find(
        state: &impl StateStore,
        build: &str,
        task: &str,
        attempt: Option<&str>,
    ) -> Result<Self, ViewError> {
        let build_id: BuildId = parse_id("build", build)?;
        let task_id: TaskId = parse_id("task", task)?;
        let asked: Option<u32> = attempt
            .map(|attempt| parse_id("attempt", attempt))
            .transpose()?;
        let build = build_record(state, &build_id).await?;
        let no_task = || ViewError::NoTask {
            build: build_id.clone(),
            task: task_id.clone(),
        };
        let task = build.task(&task_id).ok_or_else(no_task)?.clone();
        let attempt = attempt_of(&task, asked)?;
        let index = log_index(state, &build_id, &task_id, attempt).await?;
        Ok(Self {
            build,
            task,
            attempt,
            index,
        })
    }

    /// Whether something may be written to it yet.
    pub fn is_growing(&self) -> bool {
        is_leased(&self.task, self.attempt)
    }

    /// Reads again where its bytes lie; answers whether more may come.
    pub async fn refresh(&mut self, state: &impl StateStore) -> Result<bool, StateError> {
        // First whether it grows, then what there is: nothing is written after the end, so nothing is missed.
        let found = load_build(state, &self.build.id).await?;
        let grows = found.is_some_and(|(build, _)| {
            let task = build.task(&self.task.id);
            task.is_some_and(|task| is_leased(task, self.attempt))
        });
        self.index = log_index(state, &self.build.id, &self.task.id, self.attempt).await?;
        Ok(grows && !self.index.ended)
    }
}

fn is_leased(task: &Task, attempt: u32) -> bool {
    task.lease().is_some_and(|lease| lease.number.0 == attempt)
}

/// The number of the attempt that is meant.
fn attempt_of(task: &Task, asked: Option<u32>) -> Result<u32, ViewError> {
    let latest = task
        .latest_number()
        .ok_or_else(|| ViewError::NotTaken(task.id.clone()))?
        .0;
    let attempt = asked.unwrap_or(latest);
    if (1..=latest).contains(&attempt) {
        Ok(attempt)
    } else {
        Err(ViewError::NoAttempt {
            task: task.id.clone(),
            attempt,
            latest,
        })
    }
}

/// Where the bytes of a log lie; an attempt that has said nothing yet has no index.
async fn log_index(
    state: &impl StateStore,
    build: &BuildId,
    task: &TaskId,
    attempt: u32,
) -> Result<LogIndex, StateError> {
    let id = format!("{build}/{task}/{attempt}");
    let found: Option<(LogIndex, _)> = get(state, Table::Log, &id).await?;
    Ok(found.map(|(index, _)| index).unwrap_or_default())
}

/// Where some of a log's bytes lie, in order.
pub fn log_bytes(index: &LogIndex, wanted: Range<u64>) -> Vec<(Digest, Range<u64>)> {
    let mut parts = Vec::new();
    let mut at = 0;
    for chunk in &index.chunks {
        let from = wanted.start.max(at);
        let to = wanted.end.min(at + chunk.size);
        if from < to {
            parts.push((chunk.digest, from - at..to - at));
        }
        at += chunk.size;
    }
    parts
}

/// A log's bytes as people read it: without colours and other orders to a terminal, and of a line that was written over
/// and over (a progress bar) what stood there last.
pub fn log_text(bytes: &[u8]) -> String {
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
            log_bytes(&index, 17..25),
            [(digest(2), 7..10), (digest(3), 0..5)]
        );
        assert_eq!(
            log_bytes(&index, 10..25),
            [(digest(2), 0..10), (digest(3), 0..5)]
        );
        assert_eq!(log_bytes(&index, 3..7), [(digest(1), 3..7)]);
        assert_eq!(log_bytes(&index, 0..1000).len(), 3);
        assert!(
            log_bytes(&index, 25..25).is_empty()
                && log_bytes(&LogIndex::default(), 0..8).is_empty()
        );
    }

    #[test]
    fn a_log_is_shown_without_colours_and_old_progress_bars() {
        assert_eq!(
            log_text(b"\x1b[1;31merror\x1b[0m: no\r\n 1%\r 50%\r100%\nend\x07\x1b["),
            "error: no\n100%\nend"
        );
        assert_eq!(log_text(b"caf\xc3\xa9 \xff\n"), "café \u{fffd}\n");
    }
}
