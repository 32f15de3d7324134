//! What all pages have in common: the frame, and how states, times and commits are written.

use crate::STYLE;
use axum::response::Html;
use maud::{DOCTYPE, Markup, html};
use millrace_core::push::Commit;
use millrace_core::{Digest, Timestamp};
use millrace_view::{ago, segment, span};
use std::sync::LazyLock;

/// Seconds between two looks at something that runs: a task's state changes every few seconds at most.
const REFRESH_S: u32 = 4;

/// Where the style lies. The address has its digest, so that it can be kept for good.
static STYLE_PATH: LazyLock<String> =
    LazyLock::new(|| format!("/style.css?{}", &Digest::of(STYLE.as_bytes()).hex()[..12]));

/// What the frame of a page needs to know.
pub(crate) struct Page<'a> {
    pub(crate) title: &'a str,
    /// Path of the part of the line that it belongs to.
    pub(crate) here: &'a str,
    /// Whether something on it changes by itself.
    pub(crate) refresh: bool,
}

/// A whole page.
pub(crate) fn page(page: Page<'_>, body: &Markup) -> Html<String> {
    let parts = [
        ("/", "Builds"),
        ("/packages", "Packages"),
        ("/platforms", "Platforms"),
        ("/queue", "Queue"),
    ];
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if page.refresh { meta http-equiv="refresh" content=(REFRESH_S); }
                title { (page.title) " · millrace" }
                link rel="stylesheet" href=(*STYLE_PATH);
            }
            body {
                header {
                    a.brand href="/" { "millrace" }
                    nav aria-label="Parts of the line" {
                        @for (path, name) in parts {
                            a href=(path) aria-current=[(path == page.here).then_some("page")] { (name) }
                        }
                    }
                    @if page.refresh { span.live { "running, reloads every " (REFRESH_S) " s" } }
                }
                main { (body) }
            }
        }
    };
    Html(whole.into_string())
}

/// A state, in its own word.
pub(crate) fn state(word: &str) -> Markup {
    html! { span class={ "state " (word) } { (word) } }
}

/// A moment as the time since then.
pub(crate) fn since(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at.rfc3339()) title=(at.rfc3339()) { (ago(now.since_ms(at))) } }
}

/// A moment.
pub(crate) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at.rfc3339()) { (at.rfc3339().replace('T', " ").replace('Z', " UTC")) } }
}

/// A duration, if there is one.
pub(crate) fn took(ms: Option<u64>) -> Markup {
    html! { @match ms { Some(ms) => { (span(ms)) } None => { span.none { "–" } } } }
}

/// A commit by its first digits.
pub(crate) fn commit(commit: &Commit) -> Markup {
    html! { code title=(commit) { (commit.short()) } }
}

/// A branch or tag by its name.
pub(crate) fn reference(reference: &str) -> &str {
    reference
        .strip_prefix("refs/heads/")
        .or_else(|| reference.strip_prefix("refs/tags/"))
        .unwrap_or(reference)
}

/// A link to what bears a name.
pub(crate) fn named(kind: &str, name: &str) -> Markup {
    html! { a href={ "/" (kind) "/" (segment(name)) } { (name) } }
}

/// A link to the next part of a list.
pub(crate) fn older(path: &str, next: Option<&str>, words: &str) -> Markup {
    html! { @if let Some(next) = next { p.more { a rel="next" href={ (path) "?after=" (segment(next)) } { (words) } } } }
}
