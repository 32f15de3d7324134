//! The page of one build: what was pushed, how far it is, its results.

use super::pipeline;
use crate::layout::{moment, named, reference, since, state, took};
use maud::{Markup, html};
use millrace_core::Timestamp;
use millrace_view::{ArtifactView, BuildView, bytes};
use std::collections::BTreeSet;

pub(super) fn whole(build: &BuildView, base: &str, now: Timestamp) -> Markup {
    html! {
        h1 { (named("packages", build.package.as_str())) " on " (named("platforms", build.platform.as_str())) " " (state(build.state)) }
        p.lead { bdi { (build.subject) } }
        p { (sentence(build)) }
        (pipeline::reason(build))
        @if build.state == "released" { (install(build, base)) }
        (facts(build, now))
        h2 { "Pipeline" }
        (pipeline::table(build))
        @if !build.artifacts.is_empty() { (artifacts(build)) }
    }
}

/// How far it is, in a sentence.
fn sentence(build: &BuildView) -> Markup {
    let running: Vec<String> = build
        .pipeline
        .iter()
        .filter(|task| matches!(task.state, "running" | "stalled"))
        .map(|task| task.task.clone())
        .collect();
    html! {
        @match build.state {
            "running" => {
                @if running.is_empty() { "Waiting for a runner" } @else { "Working on " (running.join(", ")) }
                ", for " (took(Some(build.duration_ms))) " so far."
            }
            "signing" => { "All tasks are done; the packages are being signed." }
            "releasing" => { "The packages are signed and go into the repositories now." }
            "released" => { "Released after " (took(Some(build.duration_ms))) "." }
            "passed" => { "All tasks passed after " (took(Some(build.duration_ms))) "; " @if build.scratch { "it is a scratch build, which is not released." } @else { "the platform releases none of their packages." } }
            "excluded" => { "Excluded after " (took(Some(build.duration_ms))) ": the package is not built on this platform." }
            "cancelled" => { "Cancelled after " (took(Some(build.duration_ms))) "." }
            _ => { "Failed after " (took(Some(build.duration_ms))) "." }
        }
    }
}

fn facts(build: &BuildView, now: Timestamp) -> Markup {
    html! {
        dl.facts {
            dt { "Commit" } dd { code { (build.commit) } " on " bdi { (reference(&build.reference)) } }
            dt { "Pushed by" } dd { bdi { (build.pusher) } " (" a href={ "/pushes/" (build.push) } { "push " (build.push) } ")" }
            dt { "Planned" } dd { (moment(build.created)) ", " (since(build.created, now)) }
            @if let Some(ended) = build.ended { dt { "Ended" } dd { (moment(ended)) } }
            dt { "Build" } dd { code { (build.id) } " (" a href={ "/api/v1/builds/" (build.id) } { "as JSON" } ")" }
        }
    }
}

fn install(build: &BuildView, base: &str) -> Markup {
    let names: BTreeSet<&str> = build
        .artifacts
        .iter()
        .filter_map(|artifact| artifact.installs.as_deref())
        .collect();
    let names = names.into_iter().collect::<Vec<_>>().join(" ");
    let path = format!("/repo/{0}/{0}.repo", build.platform);
    let names = if names.is_empty() {
        build.package.to_string()
    } else {
        names
    };
    html! {
        section.install aria-label="How to install it" {
            p { strong { "Install" } }
            pre tabindex="0" { "sudo curl -o /etc/yum.repos.d/millrace-" (build.platform) ".repo " (base) (path) "\nsudo dnf install " (names) }
            p { "Repository file: " a href=(path) { (build.platform) ".repo" } @if let Some(number) = build.generation { "; since generation " (number) } "." }
        }
    }
}

fn artifacts(build: &BuildView) -> Markup {
    let total = build.artifacts.iter().map(|artifact| artifact.size).sum();
    html! {
        h2 { "Files" }
        p { (build.artifacts.len()) @if build.artifacts.len() == 1 { " file, " } @else { " files, " } (bytes(total)) ", as they were built: without signatures." @if build.state == "released" { " The signed packages are in the platform's repositories." } }
        div.wide {
            table {
                thead { tr {
                    th scope="col" { "Name" }
                    th scope="col" { "Task" }
                    th.number scope="col" { "Size" }
                    th scope="col" { "SHA-256" }
                } }
                tbody { @for artifact in &build.artifacts { (artifact_row(artifact)) } }
            }
        }
    }
}

fn artifact_row(artifact: &ArtifactView) -> Markup {
    let hex = artifact.digest.hex();
    html! {
        tr {
            th.file scope="row" { a href=(artifact.href) download { (artifact.name) } }
            td { (artifact.task) }
            td.number { (bytes(artifact.size)) }
            td { code.digest { (hex) } }
        }
    }
}
