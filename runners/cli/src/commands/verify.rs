//! Whether a build comes out the same again: what was in its roots, as a lock; the same build from that on another runner; and what differs.

use super::build::new_push_id;
use crate::actor;
use crate::compare::{self, Difference};
use crate::ending::{Ending, NotFound};
use crate::output::Output;
use crate::state::{Folder, now};
use crate::store::Store;
use crate::watch;
use anyhow::{Context, Result, bail};
use millrace_control::build::find;
use millrace_control::lock;
use millrace_core::build::Build;
use millrace_core::header::read_head;
use millrace_core::push::PushState;
use millrace_core::task::{Artifact, TaskId};
use millrace_core::{Digest, PushId};
use millrace_store::builds::{load_build, load_push};
use millrace_store::package_head;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Prints what was in the roots of a build, or writes it into a file.
pub(super) async fn lock(
    folder: &Folder,
    output: Output,
    id: &str,
    to: Option<&Path>,
) -> Result<()> {
    let store = folder.store().await?;
    let build = find(id, &store).await?;
    let lock = lock::show(&build, &store).await?;
    let text = serde_json::to_string_pretty(&lock)?;
    match to {
        Some(path) => std::fs::write(path, text + "\n").with_context(|| path.display().to_string()),
        None => output.one(&lock, |_| text),
    }
}

/// What `verify` has found.
#[derive(Debug, Serialize)]
struct Verdict {
    build: String,
    again: String,
    equal: bool,
    files: usize,
    differing: Vec<Differing>,
}

/// A file that is not the same.
#[derive(Debug, Serialize)]
struct Differing {
    task: TaskId,
    name: String,
    first: Option<Digest>,
    again: Option<Digest>,
    differences: Vec<Difference>,
}

/// Builds again from exactly the same on another runner, and compares.
pub(super) async fn verify(
    folder: &Folder,
    output: Output,
    id: &str,
    same_runner: bool,
) -> Result<Ending> {
    let store = folder.store().await?;
    let build = find(id, &store).await?;
    let push = new_push_id()?;
    let asked = lock::verify(&actor::local(), &build, push, same_runner, &store, now()).await?;
    if !asked.is_locked {
        output
            .say("nothing is known of its roots: they are made again from today's repositories")?;
    }
    let announced = asked.announced;
    let not_by = &announced.options.not_by;
    if !not_by.is_empty() {
        let names: BTreeSet<String> = not_by.values().map(ToString::to_string).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        output.say(&format!("by other runners than {names}; if there are none, `--same-runner` lets those do it again"))?;
    }
    watch::push(&store, output, &announced.id).await?;
    let again = build_of(&store, &announced.id, &build).await?;
    if !matches!(again.word(), "passed" | "released") {
        let why = again
            .reason()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        output.say(&format!(
            "build {} could not be built again: {} is {}{why}",
            build.id,
            again.id,
            again.word()
        ))?;
        return Ok(Ending::BuildFailed);
    }
    let verdict = compare(&store, &build, &again).await?;
    output.one(&verdict, told)?;
    Ok(if verdict.equal {
        Ending::Done
    } else {
        Ending::BuildFailed
    })
}

/// The build of a push on the platform of another build.
async fn build_of(store: &Store, push: &PushId, first: &Build) -> Result<Build> {
    let (record, _) = load_push(store, push)
        .await?
        .with_context(|| format!("no push {push}"))?;
    if let PushState::Planned { builds } = record.state {
        for id in builds {
            match load_build(store, &id).await? {
                Some((build, _)) if build.platform.name == first.platform.name => return Ok(build),
                _ => {}
            }
        }
    }
    bail!(NotFound(format!(
        "push {push} has no build on {}",
        first.platform.name
    )))
}

type Files<'a> = BTreeMap<(&'a TaskId, &'a str), &'a Artifact>;

fn files(build: &Build) -> Files<'_> {
    build
        .tasks
        .iter()
        .flat_map(|task| {
            task.artifacts()
                .iter()
                .map(move |file| ((&task.id, file.name.as_str()), file))
        })
        .collect()
}

async fn compare(store: &Store, build: &Build, again: &Build) -> Result<Verdict> {
    let (first, second) = (files(build), files(again));
    let mut all: Vec<&(&TaskId, &str)> = first.keys().chain(second.keys()).collect();
    all.sort();
    all.dedup();
    let mut differing = Vec::new();
    for key in &all {
        let (one, other) = (first.get(*key).copied(), second.get(*key).copied());
        if one.map(|file| file.digest) == other.map(|file| file.digest) {
            continue;
        }
        let differences = match (one, other) {
            (Some(one), Some(other)) if one.rpm.is_some() && other.rpm.is_some() => {
                compare::packages(&head(store, one).await?, &head(store, other).await?)?
            }
            _ => Vec::new(),
        };
        let (first, again) = (one.map(|file| file.digest), other.map(|file| file.digest));
        differing.push(Differing {
            task: key.0.clone(),
            name: key.1.to_owned(),
            first,
            again,
            differences,
        });
    }
    let (build, again) = (build.id.to_string(), again.id.to_string());
    Ok(Verdict {
        build,
        again,
        equal: differing.is_empty(),
        files: all.len(),
        differing,
    })
}

/// The beginning of a package, found sound.
async fn head(store: &Store, file: &Artifact) -> Result<Vec<u8>> {
    let bytes = package_head(store, &file.digest, file.size).await?;
    read_head(&bytes).with_context(|| file.name.clone())?;
    Ok(bytes)
}

fn told(verdict: &Verdict) -> String {
    let Verdict {
        build,
        again,
        files,
        differing,
        ..
    } = verdict;
    if differing.is_empty() {
        return format!(
            "equal: all {files} files of build {build} came out of build {again} byte by byte"
        );
    }
    let mut text = format!(
        "different: {} of {files} files of build {build} are not the same in build {again}",
        differing.len()
    );
    for Differing {
        task,
        name,
        first,
        again,
        differences,
    } in differing
    {
        let digest = |digest: &Option<Digest>| {
            digest.map_or_else(|| "missing".to_owned(), |digest| digest.to_string())
        };
        text.push_str(&format!(
            "\n{name} ({task})\n  first {}\n  again {}",
            digest(first),
            digest(again)
        ));
        for Difference { what, first, again } in differences {
            text.push_str(&format!("\n    {what}: {first}  →  {again}"));
        }
        if differences.is_empty() && first.is_some() && again.is_some() {
            text.push_str("\n    the same files and header: packed differently");
        }
    }
    text
}
