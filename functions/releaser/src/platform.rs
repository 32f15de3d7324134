//! What people do to a platform's repositories as a whole: make them, and put earlier packages back.

use crate::change::{Change, ChangeOutcome, SealingKey};
use crate::error::ReleaseError;
use crate::generation::manifest::Generation;
use crate::generation::root::{Current, GenerationRef, read_current};
use crate::metadata::cache::MetadataCache;
use crate::seal::Seal;
use millrace_core::platform::Platform;
use millrace_core::release::repository::repositories_of;
use millrace_core::{PlatformName, Timestamp};
use millrace_store::BlobStore;

/// Makes those repositories of a platform that it does not have yet: empty, signed, and good for a `.repo` file. If the platform's key
/// is another one now, its metadata is signed again.
pub async fn prepare(
    platform: &Platform,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let current = read_current(&platform.name, blobs).await?;
    let repositories = repositories_of(&platform.architectures);
    let add_repositories = |before: &Generation, _: Option<&Current>| {
        let names = repositories.iter().map(ToString::to_string);
        let next = before.clone().with_repositories(names);
        Ok((!next.stale.is_empty()).then_some(next))
    };
    let change = Change {
        platform: &platform.name,
        sealing: SealingKey::Anew(&platform.key),
        metadata: &MetadataCache::default(),
        seal,
        blobs,
        now,
    };
    change.make(current, add_repositories).await.map(drop)
}

/// What became of a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackOutcome {
    /// This generation has the earlier packages, and everybody reads it now.
    Restored(GenerationRef),
    /// The current generation, this one, has those packages already.
    Unchanged(GenerationRef),
}

/// Puts the packages of an earlier generation in place of the current ones, by a new generation: numbers only grow, so that
/// clients and caches notice.
pub async fn rollback(
    platform: &PlatformName,
    number: u64,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<RollbackOutcome, ReleaseError> {
    let missing = || ReleaseError::NoGeneration {
        platform: platform.clone(),
        number,
    };
    let current = read_current(platform, blobs).await?.ok_or_else(missing)?;
    let found = current.numbered(number, blobs).await?;
    let (_, earlier) = found.ok_or_else(missing)?;
    let earlier = earlier.into_owned();
    let put_back = |before: &Generation, _: Option<&Current>| {
        let next = before.clone().with_packages_of(&earlier);
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
    Ok(match change.make(Some(current), put_back).await? {
        ChangeOutcome::Released(released) => RollbackOutcome::Restored(released),
        ChangeOutcome::Unchanged(current) => RollbackOutcome::Unchanged(current.root.current),
    })
}
