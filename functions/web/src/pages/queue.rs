//! The page of the queue: tasks that wait, and the runners.

use crate::layout::{named, since, state};
use maud::{Markup, html};
use millrace_core::Timestamp;
use millrace_view::{RunnerView, WaitingView, bytes};

pub(super) fn whole(waiting: &[WaitingView], runners: &[RunnerView], now: Timestamp) -> Markup {
    html! {
        h1 { "Queue" }
        @if waiting.is_empty() { p.empty { "No task waits for a runner." } }
        @else {
            p { "Runners take the most urgent first, then from the project with the fewest running tasks, then the oldest." }
            div.wide { table.list {
                thead { tr {
                    th scope="col" { "Task" } th scope="col" { "Package" } th scope="col" { "Project" } th scope="col" { "Queued since" }
                    th scope="col" { "Waits for" }
                } }
                tbody { @for task in waiting { (waiting_row(task, now)) } }
            } }
        }
        h2 { "Runners" }
        @if runners.is_empty() { p.empty { "No runner has asked for work yet. Run " code { "millrace runner add" } " to let one in." } }
        @else {
            div.wide { table.list {
                thead { tr {
                    th scope="col" { "Runner" } th scope="col" { "State" } th scope="col" { "Builds for" } th.number scope="col" { "Memory" }
                    th.number scope="col" { "Free disk" } th scope="col" { "Asked for work" }
                } }
                tbody { @for runner in runners { (runner_row(runner, now)) } }
            } }
        }
    }
}

fn waiting_row(task: &WaitingView, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { a href={ "/builds/" (task.build) } { (task.task) } }
            td { (named("packages", task.package.as_str())) " on " (named("platforms", task.platform.as_str())) }
            td { (task.project) @if task.priority != Default::default() { ", " (task.priority) } }
            td { (since(task.since, now)) }
            td { (task.words) }
        }
    }
}

fn runner_row(runner: &RunnerView, now: Timestamp) -> Markup {
    let arches: Vec<&str> = runner
        .architectures
        .iter()
        .map(|arch| arch.as_str())
        .collect();
    let features: Vec<&str> = runner
        .features
        .iter()
        .map(|feature| feature.as_str())
        .collect();
    html! {
        tr {
            th scope="row" { (runner.runner) }
            td {
                (state(runner.state))
                @if let (Some(build), Some(task)) = (&runner.build, &runner.task) { " on " a href={ "/builds/" (build) } { (task) } }
                @if let Some(reserved) = &runner.reserved { div.why { "reserved for " (reserved) } }
            }
            td { (arches.join(", ")) @if !features.is_empty() { div.why { "has " (features.join(", ")) } } }
            td.number { (bytes(runner.memory_bytes)) }
            td.number { (bytes(runner.disk_bytes)) }
            td { (since(runner.asked, now)) }
        }
    }
}
