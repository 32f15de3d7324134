//! Which builds had a package in their roots: what to build again once that package turns out to be bad.

use crate::error::ViewError;
use crate::time::rfc3339;
use millrace_core::build::Build;
use millrace_core::task::{Task, TaskId};
use millrace_core::{BuildId, Digest, PackageName, PlatformName, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::index::BUILDS;
use millrace_store::roots::roots;
use millrace_store::{BlobStore, StateStore};
use serde::Serialize;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Builds that are asked for at once.
const PAGE: usize = 200;

/// How far from a bad package builds are looked for: each step reads all roots once more, and no distribution builds longer chains.
const STEPS_MAX: usize = 32;

/// A build that had a bad package, or one that was built with a bad one, in a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImpactView {
    pub build: BuildId,
    pub package: PackageName,
    pub platform: PlatformName,
    /// How far the build is: `released` is what users may have.
    pub state: &'static str,
    #[serde(serialize_with = "rfc3339")]
    pub created: Timestamp,
    /// The tasks whose roots had it.
    pub tasks: Vec<TaskId>,
    /// Which packages that were, of those that were looked for.
    pub had: BTreeSet<String>,
    /// How many builds lie between it and the package that was named: 0 if that itself was in a root.
    pub distance: usize,
}

/// The builds that had another build's package in a root, the newest first: `NAME-[EPOCH:]VERSION-RELEASE`, with or without `.ARCH`. With
/// `transitive`, also those that had a package which such a build made, and so on.
pub async fn impact<S: StateStore, B: BlobStore>(
    nevra: &str,
    transitive: bool,
    state: &S,
    blobs: &B,
) -> Result<Vec<ImpactView>, ViewError> {
    let mut found: BTreeMap<BuildId, ImpactView> = BTreeMap::new();
    let mut looked_for = BTreeSet::from([nevra.to_owned()]);
    let steps = if transitive { STEPS_MAX } else { 1 };
    for distance in 0..steps {
        let mut made = BTreeSet::new();
        for build in builds_with(&looked_for, state, blobs).await? {
            let WithPackages { build, tasks, had } = build;
            if found.contains_key(&build.id) {
                continue;
            }
            made.extend(made_by(&build));
            let view = ImpactView {
                build: build.id.clone(),
                package: build.push.announced.package.clone(),
                platform: build.platform.name.clone(),
                state: build.word(),
                created: build.created,
                tasks,
                had,
                distance,
            };
            found.insert(build.id, view);
        }
        if made.is_empty() {
            break;
        }
        looked_for = made;
    }
    let mut found: Vec<ImpactView> = found.into_values().collect();
    found.sort_by(|one, other| (one.distance, other.created).cmp(&(other.distance, one.created)));
    Ok(found)
}

/// NEVRAs of what a build made to be installed.
fn made_by(build: &Build) -> impl Iterator<Item = String> {
    let rpms = build
        .tasks
        .iter()
        .flat_map(Task::artifacts)
        .filter_map(|artifact| artifact.rpm.as_ref());
    rpms.filter(|rpm| !rpm.is_source()).map(ToString::to_string)
}

/// A build with some of the packages that were looked for in its roots.
struct WithPackages {
    build: Build,
    tasks: Vec<TaskId>,
    had: BTreeSet<String>,
}

async fn builds_with<S: StateStore, B: BlobStore>(
    looked_for: &BTreeSet<String>,
    state: &S,
    blobs: &B,
) -> Result<Vec<WithPackages>, ViewError> {
    // Attempts share what their roots had where nothing changed between them.
    let mut known: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let hits = state.index_entries(BUILDS, after.as_deref(), PAGE).await?;
        for hit in &hits {
            let id = BuildId::new(&hit.key.id)
                .map_err(|_| ViewError::no_record("build", &hit.key.id))?;
            let Some((build, _)) = load_build(state, &id).await? else {
                continue;
            };
            let (mut tasks, mut had) = (Vec::new(), BTreeSet::new());
            for task in &build.tasks {
                let mut is_in = false;
                for digest in task.attempts.iter().filter_map(|attempt| attempt.roots) {
                    let packages = match known.entry(digest) {
                        Entry::Occupied(packages) => packages.into_mut(),
                        Entry::Vacant(place) => {
                            place.insert(matching(&digest, looked_for, blobs).await?)
                        }
                    };
                    is_in |= !packages.is_empty();
                    had.extend(packages.iter().cloned());
                }
                if is_in {
                    tasks.push(task.id.clone());
                }
            }
            // A build that tried its own packages was not built with them.
            let own: BTreeSet<String> = made_by(&build).collect();
            if !had.is_subset(&own) {
                found.push(WithPackages { build, tasks, had });
            }
        }
        match hits.last() {
            Some(last) if hits.len() == PAGE => after = Some(last.sort.clone()),
            _ => return Ok(found),
        }
    }
}

/// The packages of one attempt's roots that are looked for.
async fn matching(
    digest: &Digest,
    looked_for: &BTreeSet<String>,
    blobs: &impl BlobStore,
) -> Result<BTreeSet<String>, ViewError> {
    let task = roots(blobs, digest).await?;
    let packages = task.roots.into_iter().flat_map(|root| root.packages);
    Ok(packages
        .map(|package| package.nevra)
        .filter(|nevra| is_looked_for(nevra, looked_for))
        .collect())
}

/// Whether a NEVRA is among these, which may leave out the architecture, or an epoch of 0.
fn is_looked_for(nevra: &str, looked_for: &BTreeSet<String>) -> bool {
    let without_arch = nevra.rsplit_once('.').map_or(nevra, |(nevr, _)| nevr);
    [nevra, without_arch]
        .into_iter()
        .any(|form| looked_for.contains(form) || looked_for.contains(&form.replacen("-0:", "-", 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_with_and_without_its_architecture() {
        let of = |text: &str| BTreeSet::from([text.to_owned()]);
        for text in ["patch-2.7-1.x86_64", "patch-2.7-1"] {
            assert!(is_looked_for("patch-2.7-1.x86_64", &of(text)), "{text}");
        }
        assert!(is_looked_for("patch-9:2.7-1.x86_64", &of("patch-9:2.7-1")));
        for text in ["patch", "patch-2.7", "patch-2.7-1.aarch64", "patch-2.7-1"] {
            assert!(!is_looked_for("patch-9:2.7-1.x86_64", &of(text)), "{text}");
        }
    }
}
