//! Gives the names that a platform has released to the packages that released them: once, for releases from before names belonged to
//! anybody.

use crate::error::ReleaseError;
use crate::generation::file::FileRef;
use crate::generation::manifest::Generation;
use crate::generation::root::{read_current, read_generation};
use millrace_core::build::Build;
use millrace_core::header::read_head;
use millrace_core::ownership::{OwnedName, PackageFacts, ReleaseTarget};
use millrace_core::{BuildId, Digest, PackageName, PlatformName, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::ownership::{Claimant, Inventory, claim, inventory};
use millrace_store::{BlobStore, Expect, SaveError, StateStore, Stored, package_head};
use std::collections::{BTreeMap, BTreeSet};
use tracing::{info, warn};

/// Packages after which it is written down how far an inventory is: one that is cut off repeats no more than these.
const PACKAGES_A_STEP: usize = 100;

/// A package of the generation that is gone through.
struct Released {
    /// When its build was planned: of two packages that have one name, the older build's gets it.
    created: Timestamp,
    build: BuildId,
    package: PackageName,
    file: FileRef,
}

/// Takes a platform's inventory, or goes on with it. A name that packages of several builds have is the oldest one's; what the others
/// do not get is logged.
pub async fn claim_released<S: StateStore, B: BlobStore>(
    platform: &PlatformName,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let target = ReleaseTarget::of_platform(platform);
    let mut listed = None;
    loop {
        let (mut inventory, expect) = match inventory(state, &target).await? {
            Some((inventory, _)) if inventory.is_whole => return Ok(()),
            Some((inventory, version)) => (inventory, Expect::Version(version)),
            None => (Inventory::begun(target.clone(), now), Expect::Absent),
        };
        let (generation, packages) = match listed.take() {
            Some(listed) => listed,
            None => list(&inventory, platform, state, blobs).await?,
        };
        let rest = packages.get(inventory.packages_done..).unwrap_or_default();
        let step = &rest[..rest.len().min(PACKAGES_A_STEP)];
        for package in step {
            claim_one(&target, package, state, blobs).await?;
        }
        inventory.packages_done += step.len();
        inventory.is_whole = step.len() == rest.len();
        inventory.asked = now;
        inventory.generation = generation;
        match state.save(inventory.write(expect)?.into()).await {
            Ok(()) if inventory.is_whole => {
                let packages = packages.len();
                info!(%platform, packages, "the names that were released have their owners");
                return Ok(());
            }
            Ok(()) => listed = Some((generation, packages)),
            // Somebody else goes on with it, too: claiming twice does no harm, but it may be another generation.
            Err(SaveError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The generation that an inventory goes through, the one that it began with or the current one, and its packages.
async fn list(
    inventory: &Inventory,
    platform: &PlatformName,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<(Option<Digest>, Vec<Released>), ReleaseError> {
    let (digest, generation) = match inventory.generation {
        Some(digest) => (digest, read_generation(platform, &digest, blobs).await?),
        None => match read_current(platform, blobs).await? {
            Some(current) => (current.root.current.generation, current.generation),
            None => return Ok((None, Vec::new())),
        },
    };
    Ok((Some(digest), released(&generation, state).await?))
}

/// Every package of a generation once, the oldest build's first.
async fn released(
    generation: &Generation,
    state: &impl StateStore,
) -> Result<Vec<Released>, ReleaseError> {
    let mut builds: BTreeMap<BuildId, Option<Build>> = BTreeMap::new();
    let mut packages = BTreeMap::new();
    for entry in generation
        .packages()
        .flat_map(|(_, packages)| packages.values())
    {
        if !builds.contains_key(&entry.build) {
            let build = load_build(state, &entry.build).await?;
            builds.insert(entry.build.clone(), build.map(|(build, _)| build));
        }
        let Some(Some(build)) = builds.get(&entry.build) else {
            warn!(nevra = entry.nevra, build = %entry.build, "nobody knows whose package this is: its build has no record");
            continue;
        };
        let package = Released {
            created: build.created,
            build: entry.build.clone(),
            package: build.push.announced.package.clone(),
            file: entry.file,
        };
        packages.insert(
            (package.created, entry.nevra.clone(), entry.file.digest),
            package,
        );
    }
    Ok(packages.into_values().collect())
}

async fn claim_one(
    target: &ReleaseTarget,
    released: &Released,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<(), ReleaseError> {
    let Released {
        build,
        package,
        file,
        ..
    } = released;
    let bytes = package_head(blobs, &file.digest, file.size).await?;
    // What was released has been read as a package before; one that says nothing sound of itself has no names to give.
    let facts = match read_head(&bytes).and_then(|head| PackageFacts::read(&head.header)) {
        Ok(facts) => facts,
        Err(error) => {
            warn!(%build, file = %file.digest, problem = %error, "a released package has no names that can be read");
            return Ok(());
        }
    };
    let names: BTreeSet<OwnedName> = facts.ships.into_iter().chain(facts.capabilities).collect();
    let claimant = Claimant {
        target,
        package,
        build,
        gone: &BTreeSet::new(),
    };
    for taken in claim(state, claimant, &names, released.created).await? {
        let owner = taken.owner.map(|owned| owned.package.to_string());
        warn!(
            %package, nevra = facts.nevra, name = %taken.name, owner,
            "this name was released before by another package, which keeps it: `millrace package grant` lets this one go on using it"
        );
    }
    Ok(())
}
