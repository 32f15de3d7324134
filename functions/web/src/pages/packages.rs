//! The list of packages, and the page of one with its pipeline.

use super::builds::list;
use super::pipeline::{reason, table};
use crate::layout::{commit, moment, named, older, since, state};
use maud::{Markup, html};
use millrace_core::Timestamp;
use millrace_view::find::{HistoryEntry, ListPart};
use millrace_view::{BuildView, PackageView, segment};

pub(super) fn all(part: &ListPart<PackageView>, now: Timestamp) -> Markup {
    html! {
        h1 { "Packages" }
        @if part.entries.is_empty() {
            p.empty { "No package is registered. Run " code { "millrace package add NAME URL" } ", or let the forge announce new repositories." }
        } @else {
            div.wide {
                table.list {
                    thead { tr { th scope="col" { "Package" } th scope="col" { "Latest build on each platform" } } }
                    tbody { @for package in &part.entries { tr {
                        th scope="row" { (named("packages", package.name.as_str())) }
                        td { @if package.latest.is_empty() { span.none { "never pushed" } } @else { ul.latest { @for build in &package.latest { li { (latest(build, now)) } } } } }
                    } } }
                }
            }
        }
        (older("/packages", part.next.as_deref(), "More packages"))
    }
}

fn latest(build: &BuildView, now: Timestamp) -> Markup {
    html! {
        (state(build.state)) " " a href={ "/builds/" (build.id) } { (build.platform) } " " (commit(&build.commit)) ", " (since(build.created, now))
    }
}

pub(super) fn one(
    package: &PackageView,
    history: &ListPart<HistoryEntry>,
    now: Timestamp,
) -> Markup {
    html! {
        h1 { (package.name) }
        @if let Some(suspended) = &package.suspended { section.reason aria-label="Suspended" { p { (suspended.words(&package.name)) } } }
        dl.facts {
            dt { "Repository" } dd { code { (package.clone_url) } }
            dt { "Built on" } dd {
                @if package.platforms.is_empty() { "every platform that builds the pushed branch" }
                @for (n, platform) in package.platforms.iter().enumerate() { @if n > 0 { ", " } (named("platforms", platform.as_str())) }
            }
            @if let Some(source) = &package.source_name { dt { "Source package" } dd { code { (source) } } }
            dt { "Project" } dd { (package.project) @if package.priority != Default::default() { ", " (package.priority) } }
            dt { "Registered" } dd { (moment(package.registered)) }
        }
        @if !package.latest.is_empty() {
            h2 { "Pipeline" }
            @for build in &package.latest { (pipeline(build, now)) }
        }
        h2 { "History" }
        @if history.entries.is_empty() { p.empty { "Nothing was pushed yet." } } @else { (list(&history.entries, false, now)) }
        (older(&format!("/packages/{}", segment(package.name.as_str())), history.next.as_deref(), "Older"))
    }
}

/// The latest build on a platform, with all that is done to it.
fn pipeline(build: &BuildView, now: Timestamp) -> Markup {
    html! {
        section aria-label={ "Latest build on " (build.platform) } {
            h3 { a href={ "/builds/" (build.id) } { (build.platform) } " " (state(build.state)) }
            p { (commit(&build.commit)) " " bdi { (build.subject) } ", " (since(build.created, now)) }
            (reason(build))
            (table(build))
        }
    }
}
