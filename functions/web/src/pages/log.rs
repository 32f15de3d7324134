//! The page of a log.

use crate::files::{Log, readable, tail};
use crate::layout::{named, state};
use crate::problem::Problem;
use crate::view::{BuildView, bytes};
use maud::{Markup, html};
use millrace_core::log::LogIndex;
use millrace_store::BlobStore;

/// What a page shows of a log, in bytes: some 3,000 lines, more than anybody reads from the end, and quick to fetch again
/// and again while the task runs.
const SHOWN_BYTES: u64 = 256 * 1024;

/// The end of a log as text, from the beginning of a line on.
pub(super) async fn end(blobs: &impl BlobStore, index: &LogIndex) -> Result<String, Problem> {
    let mut end = Vec::new();
    for (digest, range) in tail(index, SHOWN_BYTES) {
        end.extend(blobs.read(&digest, range).await?);
    }
    let whole = index.size() <= SHOWN_BYTES;
    let from = if whole { 0 } else { end.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
    Ok(readable(&end[from..]))
}

pub(super) fn whole(build: &BuildView, log: &Log, text: &str) -> Markup {
    let task = build.tasks.iter().find(|task| task.task == log.task.id);
    let attempt = task.and_then(|task| task.attempts.iter().find(|attempt| attempt.number.0 == log.attempt));
    let how = attempt.map_or("waiting", |attempt| attempt.how);
    let (size, path) = (log.index.size(), format!("/builds/{}/tasks/{}/log.txt?attempt={}", build.id, log.task.id, log.attempt));
    html! {
        h1 { "Log of " (log.task.id) " " (state(how)) }
        p {
            a href={ "/builds/" (build.id) } { "Build of " (build.package) " " (build.commit.short()) } " on " (named("platforms", build.platform.as_str()))
            ", attempt " (log.attempt)
            @if let Some(attempt) = attempt { " on " (attempt.runner) }
            ". "
            @if size > SHOWN_BYTES { "The last " (bytes(SHOWN_BYTES)) " of " (bytes(size)) "; " } @else { (bytes(size)) ", " }
            a href=(path) { "the whole log as text" } "."
        }
        @if let Some(reason) = task.filter(|task| ["failed", "quarantined"].contains(&task.state)).and_then(|task| task.reason.as_ref()) {
            section.reason aria-label="Why it failed" { pre { (reason) } }
        }
        @if text.is_empty() { p.empty { "Nothing was written to it " @if log.index.ended { "." } @else { "yet." } } }
        @else { div.log tabindex="0" role="region" aria-label="Log" { pre { (text) } } }
    }
}
