//! The page of a log.

use super::pipeline;
use super::pipeline::emulated;
use crate::layout::{named, state};
use crate::logs::read_all;
use crate::problem::Problem;
use maud::{Markup, html};
use millrace_core::log::LogIndex;
use millrace_store::BlobStore;
use millrace_view::{AttemptLog, BuildView, bytes, log_bytes, log_text};

/// What a page shows of a log, in bytes: some 3,000 lines, more than anybody reads from the end, and quick to fetch again
/// and again while the task runs.
const SHOWN_BYTES: u64 = 256 * 1024;

/// Longest log whose lines are numbered, in bytes: to number its end, all of it must be read. Most logs are shorter.
const NUMBERED_BYTES: u64 = 1024 * 1024;

/// What is shown of a log: its end, from the beginning of a line on.
pub(super) struct LogTail {
    text: String,
    /// Number of its first line, if it was counted.
    first: Option<usize>,
}

pub(super) async fn end(blobs: &impl BlobStore, index: &LogIndex) -> Result<LogTail, Problem> {
    let size = index.size();
    let numbered = size <= NUMBERED_BYTES;
    let from = if numbered { 0 } else { size - SHOWN_BYTES };
    let read = read_all(blobs, log_bytes(index, from..size)).await?;
    let begin = if size <= SHOWN_BYTES {
        0
    } else {
        next_line(
            &read,
            read.len() - SHOWN_BYTES.min(read.len() as u64) as usize,
        )
    };
    let first = numbered.then(|| 1 + read[..begin].iter().filter(|byte| **byte == b'\n').count());
    Ok(LogTail {
        text: log_text(&read[begin..]),
        first,
    })
}

/// Where the first line begins that begins after `at`; `at` itself in a line without an end.
fn next_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(at, |end| at + end + 1)
}

pub(super) fn whole(build: &BuildView, log: &AttemptLog, end: &LogTail) -> Markup {
    let name = log.task.id.to_string();
    let task = build.pipeline.iter().find(|task| task.task == name);
    let attempt = task.and_then(|task| {
        task.attempts
            .iter()
            .find(|attempt| attempt.number.0 == log.attempt)
    });
    let how = attempt.map_or("waiting", |attempt| attempt.how);
    let size = log.index.size();
    let path = format!(
        "/builds/{}/tasks/{name}/log.txt?attempt={}",
        build.id, log.attempt
    );
    html! {
        h1 { "Log of " (name) " " (state(how)) }
        p {
            a href={ "/builds/" (build.id) } { "Build of " (build.package) " " (build.commit.short()) } " on " (named("platforms", build.platform.as_str()))
            ", attempt " (log.attempt)
            @if let Some(attempt) = attempt { " on " (attempt.runner) (emulated(Some(attempt))) }
            ". "
            @if size > SHOWN_BYTES { "The last " (bytes(SHOWN_BYTES)) " of " (bytes(size)) "; " } @else { (bytes(size)) ", " }
            a href=(path) { "the whole log as text" }
            @if let Some(roots) = attempt.and_then(|attempt| attempt.roots.as_ref()) { ", " a href=(roots) { "what was in its roots" } }
            @if log.is_growing() { ", " a href={ (path) "&follow=1" } { "as it grows" } }
            "."
        }
        @if let Some(reason) = task.filter(|task| task.is_trouble()).and_then(|task| task.reason.as_ref()) {
            section.reason aria-label="Why it failed" { pre { (reason) } }
        }
        @if let Some(held) = task.and_then(|task| task.held.as_ref()) { (pipeline::held_line(held)) }
        @if end.text.is_empty() { p.empty { "Nothing was written to it " @if log.is_growing() { "yet." } @else { "." } } }
        @else { div.log tabindex="0" role="region" aria-label="Log" { pre { (lines(end)) } } }
    }
}

/// Lines to be linked to. Their links are left out of the round of the tabulator key: there are thousands.
fn lines(end: &LogTail) -> Markup {
    let Some(first) = end.first else {
        return html! { (end.text) };
    };
    html! {
        @for (n, line) in (first..).zip(end.text.split_inclusive('\n')) {
            span id={ "L" (n) } { a href={ "#L" (n) } tabindex="-1" { (n) } (line) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::next_line;

    #[test]
    fn what_is_shown_begins_with_a_line() {
        assert_eq!(next_line(b"one\ntwo\nthree", 1), 4);
        assert_eq!(next_line(b"one\ntwo\nthree", 9), 9);
    }
}
