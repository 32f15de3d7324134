//! Lists of builds and pushes, and the page of one push.

use crate::layout::{commit, moment, named, older, reference, since, state, took};
use maud::{Markup, html};
use millrace_core::Timestamp;
use millrace_view::find::{HistoryEntry, ListPart};
use millrace_view::{BuildView, PushView};

pub(super) fn all(part: &ListPart<HistoryEntry>, newest: bool, now: Timestamp) -> Markup {
    html! {
        h1 { "Builds" }
        @if part.entries.is_empty() {
            @if newest { p.empty { "Nothing was built yet. Push to a registered package, or run " code { "millrace build PACKAGE" } "." } }
            @else { p.empty { "There are no older builds." } }
        } @else {
            (list(&part.entries, true, now))
        }
        (older("/", part.next.as_deref(), "Older builds"))
    }
}

/// A table of builds, and of pushes without builds.
pub(super) fn list(entries: &[HistoryEntry], with_package: bool, now: Timestamp) -> Markup {
    html! {
        div.wide {
            table.list {
                thead { tr {
                    th scope="col" { "State" }
                    @if with_package { th scope="col" { "Package" } }
                    th scope="col" { "Platform" }
                    th scope="col" { "Commit" }
                    th scope="col" { "By" }
                    th.number scope="col" { "Took" }
                    th.number scope="col" { "When" }
                } }
                tbody {
                    @for entry in entries {
                        @match entry {
                            HistoryEntry::Build(build) => { (build_row(build, with_package, now)) }
                            HistoryEntry::Push(push) => { (push_row(push, with_package, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn build_row(build: &BuildView, with_package: bool, now: Timestamp) -> Markup {
    html! {
        tr {
            td { a href={ "/builds/" (build.id) } aria-label={ "Build of " (build.package) " on " (build.platform) ": " (build.state) } { (state(build.state)) } }
            @if with_package { th scope="row" { (named("packages", build.package.as_str())) } }
            td { (named("platforms", build.platform.as_str())) }
            td.what {
                a href={ "/builds/" (build.id) } { (commit(&build.commit)) } " " bdi.subject { (build.subject) }
                @if let (Some(reason), "failed" | "cancelled" | "excluded") = (&build.reason, build.state) { div.why { (first_line(reason)) } }
            }
            td { bdi { (build.pusher) } }
            td.number { (took(Some(build.duration_ms))) }
            td.number { (since(build.created, now)) }
        }
    }
}

fn push_row(push: &PushView, with_package: bool, now: Timestamp) -> Markup {
    html! {
        tr {
            td { a href={ "/pushes/" (push.id) } aria-label={ "Push to " (push.package) ": " (push.state) } { (state(push.state)) } }
            @if with_package { th scope="row" { (named("packages", push.package.as_str())) } }
            td { span.none { "–" } }
            td.what {
                a href={ "/pushes/" (push.id) } { (commit(&push.commit)) } " pushed to " bdi { (reference(&push.reference)) }
                @if let Some(reason) = &push.reason { div.why { (first_line(reason)) } }
            }
            td { bdi { (push.pusher) } }
            td.number { span.none { "–" } }
            td.number { (since(push.received, now)) }
        }
    }
}

fn first_line(reason: &str) -> &str {
    reason.lines().next().unwrap_or_default()
}

pub(super) fn push(push: &PushView, builds: Vec<BuildView>, now: Timestamp) -> Markup {
    let entries: Vec<HistoryEntry> = builds.into_iter().map(HistoryEntry::Build).collect();
    html! {
        h1 { "Push to " (named("packages", push.package.as_str())) " " (state(push.state)) }
        @if let Some(reason) = &push.reason {
            section.reason aria-label="Why it was refused" { h2 { "Nothing was built" } pre { (reason) } }
        }
        dl.facts {
            dt { "Commit" } dd { code { (push.commit) } }
            dt { "Reference" } dd { bdi { (push.reference) } }
            dt { "By" } dd { bdi { (push.pusher) } }
            dt { "Received" } dd { (moment(push.received)) ", " (since(push.received, now)) }
            dt { "Push" } dd { code { (push.id) } }
        }
        @if !entries.is_empty() { h2 { "Builds" } (list(&entries, false, now)) }
        @if push.state == "fetching" { p { "The commit and its sources are being fetched." } }
        @if push.state == "fetched" { p { "The commit and its sources are here; its builds are being planned." } }
    }
}
