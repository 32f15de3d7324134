//! The list of platforms, and the page of one.

use crate::layout::named;
use maud::{Markup, html};
use millrace_core::platform::{Requires, StepScope};
use millrace_view::{PlatformView, RepositoryView, StepView, bytes};

pub(super) fn all(platforms: &[PlatformView]) -> Markup {
    html! {
        h1 { "Platforms" }
        @if platforms.is_empty() { p.empty { "There is no platform yet. Run " code { "millrace platform add FILE" } "." } }
        @else {
            div.wide {
                table.list {
                    thead { tr { th scope="col" { "Platform" } th scope="col" { "What it is" } th scope="col" { "Architectures" } th scope="col" { "Steps" } th scope="col" { "Releases" } } }
                    tbody { @for platform in platforms { tr {
                        th scope="row" { (named("platforms", platform.name.as_str())) }
                        td { (platform.title) }
                        td { (joined(&platform.architectures)) }
                        td { (platform.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(" → ")) }
                        td { a href=(platform.repo_file) { "repository file" } }
                    } } }
                }
            }
        }
    }
}

fn joined<T: ToString>(all: &[T]) -> String {
    all.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn one(platform: &PlatformView) -> Markup {
    html! {
        h1 { (platform.name) }
        @if !platform.title.is_empty() { p.lead { (platform.title) } }
        dl.facts {
            dt { "Architectures" } dd { (joined(&platform.architectures)) }
            dt { "Builds" } dd { @if platform.branches.is_empty() { "every branch and tag" } @else { code { (platform.branches.join(" ")) } } }
            dt { "releasever" } dd { code { (platform.releasever) } }
            dt { "Releases to" } dd { a href=(platform.repo_file) { (platform.name) ".repo" } ", signed with the key " (platform.key) " (" a href=(platform.key_file) { "public key" } "); both exist after the first release" }
        }
        h2 { "Steps" }
        (steps(&platform.steps))
        h2 { "Repositories" }
        (repositories(&platform.repositories))
        @if !platform.macros.is_empty() {
            h2 { "Macros" }
            dl.facts { @for (name, value) in &platform.macros { dt { code { "%" (name) } } dd { code { (value) } } } }
        }
        h2 { "Buildroot" }
        p { code { (platform.buildroot.join(" ")) } }
    }
}

fn steps(steps: &[StepView]) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr {
                    th scope="col" { "Step" } th scope="col" { "Plugin" } th scope="col" { "How often" } th scope="col" { "After" }
                    th scope="col" { "Released" } th scope="col" { "Configuration" }
                } }
                tbody { @for step in steps { tr {
                    th scope="row" { (step.name) }
                    td { (step.plugin) }
                    td { (how_often(step.on)) }
                    td { @if step.needs.is_empty() { span.none { "–" } } @else { (joined(&step.needs)) } }
                    td { @if step.releases { "yes" } @else { "no" } }
                    td {
                        @if step.network { div { strong { "with the machine's network" } } }
                        @if step.disk_order { div { "folders listed in disk order" } }
                        @if let Some(wants) = wants(&step.requires) { div { "on a runner with " (wants) } }
                        @for (name, value) in &step.config { div { code { (name) " = " (value) } } }
                    }
                } } }
            }
        }
    }
}

/// What a step's runner must have, in words; none if any runner will do.
fn wants(requires: &Requires) -> Option<String> {
    let memory = requires
        .memory_bytes
        .map(|size| format!("{} of memory", bytes(size)));
    let disk = requires
        .disk_bytes
        .map(|size| format!("{} of free disk", bytes(size)));
    let features = requires.features.iter().map(ToString::to_string);
    let all: Vec<String> = memory.into_iter().chain(disk).chain(features).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn how_often(on: StepScope) -> &'static str {
    match on {
        StepScope::Once => "once",
        StepScope::BuildArch => "on each architecture that is built on",
        StepScope::EachArch => "on each architecture",
    }
}

fn repositories(repositories: &[RepositoryView]) -> Markup {
    html! {
        div.wide {
            table {
                thead { tr { th scope="col" { "Id" } th scope="col" { "Where" } th scope="col" { "Signatures" } th.number scope="col" { "Priority" } } }
                tbody { @for repository in repositories { tr {
                    th scope="row" { (repository.id) }
                    td.file { code { (repository.url) } }
                    td { @if repository.checked { "checked" } @else { "not checked" } }
                    td.number { (repository.priority) }
                } } }
            }
        }
    }
}
