//! Takes packages out of a platform's repositories: by a new generation, like everything that changes them.

use crate::change::{Change, ChangeOutcome, SealingKey};
use crate::error::ReleaseError;
use crate::generation::manifest::{Generation, PackageEntry};
use crate::generation::root::{Current, GenerationRef, read_current};
use crate::metadata::cache::MetadataCache;
use crate::seal::Seal;
use millrace_core::{BuildId, PackageName, PlatformName, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::{BlobStore, StateStore};
use std::collections::{BTreeMap, BTreeSet};

/// What was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The generation that has it no more.
    pub generation: GenerationRef,
    /// NEVRAs, each once.
    pub packages: BTreeSet<String>,
}

/// Takes everything out that the builds of a package have released, or those of one version: `PACKAGE` or `PACKAGE-VERSION[-RELEASE]`.
/// Subpackages, debuginfo and source packages go with it. Earlier versions stay if one version was named.
pub async fn remove<S: StateStore, B: BlobStore>(
    platform: &PlatformName,
    what: &str,
    seal: &impl Seal,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<Removed, ReleaseError> {
    let none = || ReleaseError::NotReleased {
        platform: platform.clone(),
        what: what.to_owned(),
    };
    let current = read_current(platform, blobs).await?.ok_or_else(none)?;
    let packages = packages_of(&current.generation, state).await?;
    let chosen = chosen(what, &current.generation, &packages);
    if chosen.is_empty() {
        return Err(none());
    }
    let take_out = |before: &Generation, _: Option<&Current>| {
        let next = before
            .clone()
            .without(|entry| chosen.contains(&entry.nevra));
        Ok((!next.stale.is_empty()).then_some(next))
    };
    let key = current.generation.key.clone();
    let change = Change {
        platform,
        sealing: SealingKey::AsBefore(&key),
        metadata: &MetadataCache::default(),
        seal,
        blobs,
        now,
    };
    let generation = match change.make(Some(current), take_out).await? {
        ChangeOutcome::Released(released) => released,
        // Somebody else was faster with the same.
        ChangeOutcome::Unchanged(current) => current.root.current,
    };
    Ok(Removed {
        generation,
        packages: chosen,
    })
}

/// Which package each build of a generation is of.
async fn packages_of(
    generation: &Generation,
    state: &impl StateStore,
) -> Result<BTreeMap<BuildId, PackageName>, ReleaseError> {
    let builds: BTreeSet<&BuildId> = generation.builds().collect();
    let mut packages = BTreeMap::new();
    for id in builds {
        if let Some((build, _)) = load_build(state, id).await? {
            packages.insert(id.clone(), build.push.announced.package);
        }
    }
    Ok(packages)
}

/// The NEVRAs that a text chooses. A package of exactly this name comes before versions of one with a shorter name.
fn chosen(
    what: &str,
    generation: &Generation,
    packages: &BTreeMap<BuildId, PackageName>,
) -> BTreeSet<String> {
    let entries = || {
        generation
            .packages()
            .flat_map(|(_, entries)| entries.values())
    };
    let of_package = |entry: &&PackageEntry| {
        packages
            .get(&entry.build)
            .is_some_and(|package| package.as_str() == what)
    };
    let of_version = |entry: &&PackageEntry| {
        packages
            .get(&entry.build)
            .is_some_and(|package| is_version(what, package, &entry.nevra))
    };
    let nevra = |entry: &PackageEntry| entry.nevra.clone();
    let whole: BTreeSet<String> = entries().filter(of_package).map(nevra).collect();
    if whole.is_empty() {
        entries().filter(of_version).map(nevra).collect()
    } else {
        whole
    }
}

/// Whether a text names a package and the version that a NEVRA has, with or without its release and its epoch.
fn is_version(what: &str, package: &PackageName, nevra: &str) -> bool {
    let version = || {
        let asked = what.strip_prefix(package.as_str())?.strip_prefix('-')?;
        let (nevr, _arch) = nevra.rsplit_once('.')?;
        let (nev, release) = nevr.rsplit_once('-')?;
        let (_name, epoch_version) = nev.rsplit_once('-')?;
        let version = epoch_version
            .split_once(':')
            .map_or(epoch_version, |(_, version)| version);
        Some(
            [epoch_version, version]
                .into_iter()
                .any(|version| asked == version || asked == format!("{version}-{release}")),
        )
    };
    version().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_with_or_without_its_release_and_its_epoch() {
        let tally = PackageName::new("tally").unwrap();
        let nevra = "tally-devel-2:1.0-3.el9.x86_64";
        for what in [
            "tally-1.0",
            "tally-1.0-3.el9",
            "tally-2:1.0",
            "tally-2:1.0-3.el9",
        ] {
            assert!(is_version(what, &tally, nevra), "{what}");
        }
        for what in [
            "tally",
            "tally-1",
            "tally-1.0-3",
            "tally-devel-1.0",
            "tall-1.0",
            "tally-2:",
        ] {
            assert!(!is_version(what, &tally, nevra), "{what}");
        }
    }
}
