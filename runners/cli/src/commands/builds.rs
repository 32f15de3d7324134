//! Commands that list and follow builds.

use crate::arguments::{Builds, Watch};
use crate::ending::{Ending, NotFound};
use crate::output::{Output, span};
use crate::state::{Folder, now};
use crate::store::Store;
use crate::watch;
use anyhow::{Result, bail};
use millrace_control::build::find;
use millrace_core::PushId;
use millrace_core::build::Build;
use millrace_store::StateStore;
use millrace_store::builds::{load_build, load_push};
use millrace_store::index::{BUILDS, PUSHES, package_index};
use millrace_view::BuildView;
use millrace_view::find::ImpactView;
use std::time::Duration;

/// Pushes looked through for the beginning of a commit.
const PUSHES_MAX: usize = 1000;

/// How long `watch --commit` waits for the line to hear of the commit.
const HEAR_MAX: Duration = Duration::from_secs(60);

/// Builds that had a package in their roots.
pub(super) async fn impact(
    folder: &Folder,
    output: Output,
    nevra: &str,
    transitive: bool,
) -> Result<()> {
    let store = folder.store().await?;
    let found = millrace_view::find::impact(nevra, transitive, &store, &store).await?;
    let none = format!("no build that the line knows had {nevra} in a root");
    output.list(&found, &none, impact_line)
}

fn impact_line(build: &ImpactView) -> String {
    let had: Vec<&str> = build.had.iter().map(String::as_str).collect();
    let ImpactView {
        build: id,
        package,
        platform,
        state,
        ..
    } = build;
    format!(
        "{id}  {:<24} {:<16} {state:<10} had {}",
        package.as_str(),
        platform.as_str(),
        had.join(" ")
    )
}

pub(super) async fn watch(folder: &Folder, output: Output, options: &Watch) -> Result<Ending> {
    let store = folder.store().await?;
    let good = match (&options.push, &options.commit, &options.build) {
        (Some(push), _, _) => watch::push(&store, output, push).await?,
        (_, Some(commit), _) => {
            watch::push(&store, output, &heard_of(&store, commit).await?).await?
        }
        (_, _, Some(build)) => watch::build(&store, output, &find(build, &store).await?.id).await?,
        (None, None, None) => {
            let newest = store.index_entries(BUILDS, None, 1).await?;
            let newest = newest
                .first()
                .ok_or_else(|| NotFound("there is no build yet".to_owned()))?;
            watch::build(&store, output, &newest.key.id.parse()?).await?
        }
    };
    Ok(Ending::of_build(good))
}

/// The newest push of a commit, as soon as the line has heard of it.
async fn heard_of(store: &Store, commit: &str) -> Result<PushId> {
    let until = std::time::Instant::now() + HEAR_MAX;
    let mut waiting = watch::Waiting::default();
    loop {
        for hit in store.index_entries(PUSHES, None, PUSHES_MAX).await? {
            let Some((record, _)) = load_push(store, &hit.key.id.parse()?).await? else {
                continue;
            };
            if record.announced.commit.as_str().starts_with(commit) {
                return Ok(record.announced.id);
            }
        }
        if std::time::Instant::now() > until {
            bail!(NotFound(format!(
                "the line has not heard of commit {commit} in {}",
                span(60_000)
            )));
        }
        waiting.wait(store, Duration::from_millis(100)).await;
    }
}

pub(super) async fn builds(folder: &Folder, output: Output, options: &Builds) -> Result<()> {
    let store = folder.store().await?;
    let index = options
        .package
        .as_ref()
        .map_or_else(|| BUILDS.to_owned(), package_index);
    let mut views = Vec::new();
    for hit in store.index_entries(&index, None, options.limit).await? {
        if let Some((build, _)) = load_build(&store, &hit.key.id.parse()?).await? {
            views.push((BuildView::of(&build, now()), build));
        }
    }
    let lines: Vec<_> = views
        .iter()
        .map(|(view, build)| Line { view, build })
        .collect();
    output.list(
        &lines,
        "no builds yet: push to a registered package, or `millrace build PACKAGE`",
        |line| {
            let build = line.build;
            let took = span(build.ended.unwrap_or_else(now).since_ms(build.created));
            let announced = &build.push.announced;
            format!(
                "{}  {:<10} {:<24} {} {:<14} {:>12}  {}",
                build.id,
                build.word(),
                announced.package,
                announced.commit.short(),
                build.platform.name,
                took,
                build.push.subject
            )
        },
    )
}

/// A build in a list: its view as JSON, its record for the line.
struct Line<'a> {
    view: &'a BuildView,
    build: &'a Build,
}

impl serde::Serialize for Line<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.view.serialize(serializer)
    }
}
