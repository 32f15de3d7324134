//! What is done to a build, as a table of steps by architectures, and why it did not work out.

use crate::layout::{moment, state, took};
use maud::{Markup, html};
use millrace_core::Arch;
use millrace_core::cause::Cause;
use millrace_core::task::Blame;
use millrace_view::{AttemptView, BuildView, HeldView, TaskKind, TaskView};

/// The table.
pub(super) fn table(build: &BuildView) -> Markup {
    let architectures = architectures(build);
    // A step that is done once stands across all architectures.
    let across = architectures.len().max(1);
    html! {
        div.wide {
            table.pipeline {
                thead { tr {
                    th scope="col" { "Step" }
                    @for arch in &architectures { th scope="col" { (arch) } }
                    @if architectures.is_empty() { th scope="col" { "State" } }
                } }
                tbody {
                    @for tasks in build.pipeline.chunk_by(|one, next| (one.kind, &one.step) == (next.kind, &next.step)) {
                        tr {
                            th scope="row" { (tasks[0].step) (other_plugin(&tasks[0])) }
                            @if tasks[0].arch.is_none() { (cell(build, &tasks[0], across)) }
                            @else { @for arch in &architectures { @match on(tasks, *arch) {
                                Some(task) => { (cell(build, task, 1)) }
                                None => { td { span.none { "–" } } }
                            } } }
                        }
                    }
                }
            }
        }
    }
}

/// The plugin's name, if it is not the step's.
fn other_plugin(task: &TaskView) -> Markup {
    html! { @if let Some(plugin) = task.plugin.as_ref().filter(|plugin| plugin.as_str() != task.step) { div.why { "plugin " (plugin) } } }
}

/// In the platform's order, which is that of its first step that is done on several.
fn architectures(build: &BuildView) -> Vec<Arch> {
    let mut all = Vec::new();
    for arch in build.pipeline.iter().filter_map(|task| task.arch) {
        if !all.contains(&arch) {
            all.push(arch);
        }
    }
    all
}

fn on(tasks: &[TaskView], arch: Arch) -> Option<&TaskView> {
    tasks.iter().find(|task| task.arch == Some(arch))
}

fn cell(build: &BuildView, task: &TaskView, across: usize) -> Markup {
    html! {
        td colspan=[(across > 1).then_some(across)] {
            div.line {
                @if let Some(arch) = task.arch { span.on { (arch) } }
                (state(task.state))
                @if task.duration_ms.is_some() { span { (took(task.duration_ms)) } }
                @if let Some(runner) = &task.runner { span.took { "on " (runner) (emulated(task.attempts.last())) } }
                @if let [attempt] = &task.attempts[..] { a href=(log_page(build, task, attempt)) aria-label={ "Log of " (task.task) } { "log" } }
            }
            // What went wrong stands above the table, whole.
            @if let Some(reason) = task.reason.as_ref().filter(|_| !task.is_trouble()) { div.why { (reason) } }
            @else if task.ready { div.why { a href="/queue" { "waits for a runner" } @if let Some(arch) = task.arch { " on " (arch) } } }
            @if let Some(silent) = task.silent_since { div.why { "nothing printed since " (moment(silent)) } }
            @if let Some(last) = task.retried.last() { div.why { "retried by " bdi { (last.by) } } }
            @if let Some(order) = task.order { div.why { "order " code { (order) } } }
            @if task.attempts.len() > 1 { ol.attempts { @for attempt in &task.attempts { (attempt_item(build, task, attempt)) } } }
        }
    }
}

fn attempt_item(build: &BuildView, task: &TaskView, attempt: &AttemptView) -> Markup {
    html! {
        li {
            a href=(log_page(build, task, attempt)) aria-label={ "Log of attempt " (attempt.number) " at " (task.task) } { "log " (attempt.number) }
            " " (ended_how(attempt)) ", " (attempt.runner) (emulated(Some(attempt))) ", " (took(Some(attempt.duration_ms)))
            @if let Some(reason) = &attempt.reason { div.why { (reason) } }
        }
    }
}

/// Says that programs of the task were emulated: they took several times as long, and may have behaved differently.
pub(super) fn emulated(attempt: Option<&AttemptView>) -> Markup {
    html! { @if let Some(arch) = attempt.and_then(|attempt| attempt.emulated_on) { " (emulated on " (arch) ")" } }
}

fn log_page(build: &BuildView, task: &TaskView, attempt: &AttemptView) -> String {
    format!(
        "/builds/{}/tasks/{}/log?attempt={}",
        build.id, task.task, attempt.number
    )
}

fn ended_how(attempt: &AttemptView) -> &'static str {
    match attempt.how {
        "troubled" => "temporary failure",
        "lost" => "runner fell silent",
        "returned" => "runner was restarted",
        "handed-back" => "handed back",
        "dropped" => "build ended first",
        word => word,
    }
}

/// What went wrong, as soon as it did: for each failed task why, who must act and where to look. Then why the build ended,
/// unless that or its state says so already.
pub(super) fn reason(build: &BuildView) -> Markup {
    let trouble: Vec<&TaskView> = build
        .pipeline
        .iter()
        .filter(|task| task.is_trouble())
        .collect();
    let said = build.state == "failed" && !trouble.is_empty();
    html! {
        @if !trouble.is_empty() { section.reason aria-label="What went wrong" { @for task in trouble { (one_trouble(build, task)) } } }
        @if let Some(reason) = build.reason.as_ref().filter(|_| !said) {
            section.reason.calm[build.state != "failed"] aria-label=(why(build.state)) { p { strong { (why(build.state)) } } pre { (reason) } }
        }
    }
}

fn one_trouble(build: &BuildView, task: &TaskView) -> Markup {
    html! {
        p {
            strong { (task.task) " " @if task.kind == TaskKind::Task { (task.state) } @else { "was refused" } }
            @if let Some(attempt) = task.attempts.last() { ", " a href=(log_page(build, task, attempt)) { "its log" } }
        }
        @if let Some(cause) = &task.cause { (cause_line(build, task, cause)) }
        pre { (task.reason.as_deref().unwrap_or_default()) }
        @if let Some(blame) = task.blame { p.why { (who(blame)) } }
        @if let Some(held) = &task.held { (held_line(held)) }
    }
}

/// Where its sandbox is held, and how to get into it.
pub(super) fn held_line(held: &HeldView) -> Markup {
    html! {
        p {
            "Its sandbox is held until " (moment(held.until)) " by " (held.runner) ": " code { (held.command) } " gives a terminal in it."
            @if let Some(by) = &held.by { " " bdi { (by) } " is in it now." }
            @else if held.sessions > 0 { " Somebody was in it." }
        }
    }
}

/// What kind of failure it was, with a link to the line that says so.
fn cause_line(build: &BuildView, task: &TaskView, cause: &Cause) -> Markup {
    html! {
        p {
            "Probably " strong { (cause.kind.words()) } ": "
            @if let Some(attempt) = task.attempts.last() { a href={ (log_page(build, task, attempt)) "#L" (cause.line) } { "line " (cause.line) } " says " }
            code { (cause.text) }
        }
    }
}

fn why(state: &str) -> &'static str {
    match state {
        "failed" => "Why it failed",
        "excluded" => "Why nothing was built",
        "cancelled" => "Why it ended",
        "signing" | "releasing" => "What it waits for",
        _ => "Why",
    }
}

/// Who must act.
fn who(blame: Blame) -> &'static str {
    match blame {
        Blame::Package => "The package's author can fix this.",
        Blame::Configuration => {
            "The maintainer of the platform or of the step's configuration can fix this."
        }
        Blame::Environment => "A machine or the network failed.",
        Blame::Plugin => "The plugin's author can fix this.",
    }
}
