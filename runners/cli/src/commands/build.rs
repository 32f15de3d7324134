//! Commands that start, stop and repeat builds.

use crate::actor;
use crate::arguments::{Build, BuildFlags, Retry};
use crate::ending::Ending;
use crate::output::Output;
use crate::state::{Folder, now, random};
use crate::store::Store;
use crate::watch;
use anyhow::{Context, Result};
use millrace_control::build::{self, BuildRequest, RetryRequest, find, push_id};
use millrace_control::{lock, package};
use millrace_core::build::Build as BuildRecord;
use millrace_core::push::{Announced, BuildOptions};
use millrace_core::{PackageName, PushId};
use std::collections::BTreeMap;

pub(super) async fn build(folder: &Folder, output: Output, command: Build) -> Result<Ending> {
    let store = folder.store().await?;
    let package = package::show(&command.package, &store).await?;
    let wanted = command.reference.clone();
    let url = package.clone_url;
    let read = move || millrace_source::reference(&url, wanted.as_deref());
    let (reference, commit) = tokio::task::spawn_blocking(read).await??;
    let request = BuildRequest {
        id: new_push_id()?,
        options: build_options(&store, command.options, &package.name).await?,
        package: package.name,
        reference,
        commit: command.commit.unwrap_or(commit),
    };
    let announced = build::build(&actor::local(), request, &store, now()).await?;
    follow(&store, output, &announced, command.watch).await
}

/// Builds again what a build was made from.
pub(super) async fn clone(
    folder: &Folder,
    output: Output,
    id: &str,
    options: BuildFlags,
    watch: bool,
) -> Result<Ending> {
    let store = folder.store().await?;
    let build = find(id, &store).await?;
    let options = build_options(&store, options, &build.push.announced.package).await?;
    let actor = actor::local();
    let announced = build::clone(&actor, &build, new_push_id()?, options, &store, now()).await?;
    follow(&store, output, &announced, watch).await
}

/// The options of a build, with the lock that its roots come from.
async fn build_options(
    store: &Store,
    chosen: BuildFlags,
    package: &PackageName,
) -> Result<BuildOptions> {
    let mut options = BuildOptions {
        priority: chosen.priority,
        platforms: chosen.platforms,
        architectures: chosen.architectures,
        macros: chosen.macros.into_iter().collect(),
        scratch: chosen.scratch,
        lock: None,
        not_by: BTreeMap::new(),
        hold_s: chosen.hold,
    };
    if let Some(path) = chosen.lock {
        let named = || path.display().to_string();
        let text = std::fs::read(&path).with_context(named)?;
        lock::require(text, package, &mut options, store)
            .await
            .with_context(named)?;
    }
    Ok(options)
}

/// The id of a push that no forge has heard of.
pub(super) fn new_push_id() -> Result<PushId> {
    let [a, b, c, d, e, f, g, h, ..] = random()?;
    Ok(push_id([a, b, c, d, e, f, g, h]))
}

/// Says what was asked for, and follows it if that is wanted.
async fn follow(
    store: &Store,
    output: Output,
    announced: &Announced,
    watch: bool,
) -> Result<Ending> {
    output.one(&serde_json::json!({"push": announced.id, "commit": announced.commit, "reference": announced.reference}), |_| {
        format!("push {}: {} at {} ({})", announced.id, announced.package, announced.commit.short(), announced.reference)
    })?;
    if !watch {
        return Ok(Ending::Done);
    }
    let good = watch::push(store, output, &announced.id).await?;
    Ok(Ending::of_build(good))
}

pub(super) async fn cancel(folder: &Folder, output: Output, id: &str) -> Result<()> {
    let store = folder.store().await?;
    let build = find(id, &store).await?;
    let build = build::cancel(&actor::local(), &build.id, &store, now()).await?;
    told(output, &build)
}

pub(super) async fn retry(folder: &Folder, output: Output, command: Retry) -> Result<()> {
    let store = folder.store().await?;
    let build = find(&command.build, &store).await?;
    let request = RetryRequest {
        task: command.task,
        hold_s: command.hold,
    };
    let build = build::retry(&actor::local(), &build, request, &store, now()).await?;
    told(output, &build)
}

/// Says what a build is now.
fn told(output: Output, build: &BuildRecord) -> Result<()> {
    output.one(
        &serde_json::json!({"build": build.id, "state": build.word()}),
        |_| format!("build {} is {}", build.id, build.word()),
    )
}
