//! The page of what was in a task's roots.

use crate::layout::named;
use maud::{Markup, html};
use millrace_core::roots::{Root, RootKind, RootPackage, TaskRoots};
use millrace_view::BuildView;

pub(super) fn whole(build: &BuildView, attempt: u32, roots: &TaskRoots) -> Markup {
    html! {
        h1 { "Roots of " (roots.task) }
        p {
            a href={ "/builds/" (build.id) } { "Build of " (build.package) " " (build.commit.short()) } " on " (named("platforms", build.platform.as_str()))
            ", attempt " (attempt) ". "
            code { "millrace lock " (build.id) } " prints all of it, "
            code { "millrace build " (build.package) " --lock FILE" } " builds again from exactly these packages, and "
            code { "millrace verify " (build.id) } " says whether the result is the same."
        }
        @for root in &roots.roots { (one(root, roots)) }
    }
}

fn one(root: &Root, roots: &TaskRoots) -> Markup {
    let what = match root.kind {
        RootKind::Build => "Build root",
        RootKind::Minimal => "Test root",
    };
    html! {
        h2 { (what) ", " (roots.arch) }
        @if let Some(from) = &root.from { p { "Made from " code { (from) } "." } }
        @if root.packages.is_empty() { p.empty { "Its packages are not known." } }
        @else {
            div.wide { table {
                thead { tr { th scope="col" { "Package" } th scope="col" { "Repository" } th scope="col" { "SHA-256 of its file" } } }
                tbody { @for package in &root.packages { (row(package)) } }
            } }
        }
    }
}

fn row(package: &RootPackage) -> Markup {
    html! {
        tr {
            td { (package.nevra) @if package.later { div.why { "added later" } } }
            td { @if package.repository.is_empty() { span.none { "–" } } @else { (package.repository) } }
            td { @match &package.digest {
                Some(digest) => { code { (digest.hex()) } }
                None => { span.none { "–" } }
            } }
        }
    }
}
