//! The page of one build: what was pushed, how far it is, what came of it.

use crate::layout::{moment, named, reference, since, state, took};
use crate::view::{ArtifactView, AttemptView, BuildView, OrderView, TaskView, bytes};
use maud::{Markup, html};
use millrace_core::Timestamp;
use millrace_core::task::Blame;
use std::collections::BTreeSet;

pub(super) fn whole(build: &BuildView, base: &str, now: Timestamp) -> Markup {
    html! {
        h1 { (named("packages", build.package.as_str())) " on " (named("platforms", build.platform.as_str())) " " (state(build.state)) }
        p.lead { bdi { (build.subject) } }
        p { (sentence(build)) }
        @if let Some(reason) = &build.reason {
            section.reason.calm[build.state != "failed"] aria-label="Why" { h2 { (why(build.state)) } pre { (reason) } }
        }
        @if build.state == "released" { (install(build, base)) }
        (facts(build, now))
        h2 { "Pipeline" }
        (pipeline(build))
        @if !build.artifacts.is_empty() { (artifacts(build)) }
    }
}

/// How far it is, in a sentence.
fn sentence(build: &BuildView) -> Markup {
    let running: Vec<String> =
        build.tasks.iter().filter(|task| task.state == "running").map(|task| task.task.to_string()).collect();
    html! {
        @match build.state {
            "running" => {
                @if running.is_empty() { "Waiting for a runner" } @else { "Working on " (running.join(", ")) }
                ", for " (took(Some(build.duration_ms))) " so far."
            }
            "signing" => { "All tasks are done; the packages are being signed." }
            "releasing" => { "The packages are signed and go into the repositories now." }
            "released" => { "Released after " (took(Some(build.duration_ms))) "." }
            "passed" => { "All tasks passed after " (took(Some(build.duration_ms))) "; the platform releases nothing of them." }
            word => { "It " @match word { "excluded" => "was not to be built here", "cancelled" => "was cancelled", _ => "failed" } " after " (took(Some(build.duration_ms))) "." }
        }
    }
}

fn why(state: &str) -> &'static str {
    match state {
        "failed" => "Why it failed",
        "excluded" => "Why nothing was built",
        "cancelled" => "Why it ended",
        _ => "Why",
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

fn pipeline(build: &BuildView) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr {
                    th scope="col" { "Task" }
                    th scope="col" { "State" }
                    th scope="col" { "What came of it" }
                    th.number scope="col" { "Took" }
                    th scope="col" { "Runner" }
                    th scope="col" { "Attempts" }
                } }
                tbody {
                    @for task in &build.tasks { (task_row(build, task)) }
                    @for order in &build.orders { (order_row(order)) }
                }
            }
        }
    }
}

fn task_row(build: &BuildView, task: &TaskView) -> Markup {
    html! {
        tr {
            th scope="row" { (task.task) }
            td { (state(task.state)) }
            td.what {
                @if let Some(reason) = &task.reason { span.words { (reason) } }
                @else if task.ready { "waits for a runner" @if let Some(arch) = task.task.arch { " on " (arch) } }
                @if let Some(blame) = task.blame { div.why { (who(blame)) } }
            }
            td.number { (took(task.duration_ms)) }
            td { @match &task.runner { Some(runner) => { (runner) } None => { span.none { "–" } } } }
            td {
                @if task.attempts.is_empty() { span.none { @if ["waiting", "running"].contains(&task.state) { "none yet" } @else { "none" } } }
                ol.attempts { @for attempt in &task.attempts { (attempt_item(build, task, attempt, task.attempts.len() > 1)) } }
            }
        }
    }
}

fn attempt_item(build: &BuildView, task: &TaskView, attempt: &AttemptView, several: bool) -> Markup {
    html! {
        li {
            a href={ "/builds/" (build.id) "/tasks/" (task.task) "/log?attempt=" (attempt.number) } { "log " (attempt.number) }
            @if several { " " (ended_how(attempt)) ", " (attempt.runner) ", " (took(Some(attempt.duration_ms))) }
            @if let Some(reason) = &attempt.reason { div.why { (reason) } }
        }
    }
}

fn ended_how(attempt: &AttemptView) -> &'static str {
    match attempt.how {
        "troubled" => "passing trouble",
        "lost" => "runner fell silent",
        "returned" => "runner was restarted",
        "dropped" => "build ended first",
        word => word,
    }
}

/// Who must act.
fn who(blame: Blame) -> &'static str {
    match blame {
        Blame::Package => "For the package's author to mend.",
        Blame::Configuration => "For whoever keeps the platform or the step's configuration to mend.",
        Blame::Environment => "Trouble of a machine or a network.",
        Blame::Plugin => "For the plugin's author to mend.",
    }
}

fn order_row(order: &OrderView) -> Markup {
    html! {
        tr {
            th scope="row" { (order.order) }
            td { (state(order.state)) }
            td.what { @if let Some(reason) = &order.reason { span.words { (reason) } } }
            td.number { span.none { "–" } }
            td { span.none { "–" } }
            td { span.none { "–" } }
        }
    }
}

fn install(build: &BuildView, base: &str) -> Markup {
    let names: BTreeSet<&str> = build.artifacts.iter().filter_map(|artifact| artifact.installs.as_deref()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(" ");
    let path = format!("/repo/{0}/{0}.repo", build.platform);
    let names = if names.is_empty() { build.package.to_string() } else { names };
    html! {
        section.install aria-label="How to install it" {
            h2 { "Install" }
            pre tabindex="0" { "sudo curl -o /etc/yum.repos.d/millrace-" (build.platform) ".repo " (base) (path) "\nsudo dnf install " (names) }
            p { "Repository file: " a href=(path) { (build.platform) ".repo" } @if let Some(number) = build.generation { "; in it since generation " (number) } "." }
        }
    }
}

fn artifacts(build: &BuildView) -> Markup {
    let total = build.artifacts.iter().map(|artifact| artifact.size).sum();
    html! {
        h2 { "Files" }
        p { (build.artifacts.len()) " files, " (bytes(total)) ", as they were built: without signatures." @if build.state == "released" { " The signed packages are in the platform's repositories." } }
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
