//! What people do to a platform's repositories as a whole: make them, and put earlier packages back.

use crate::change::{Changed, Sealing, change};
use crate::error::ReleaseError;
use crate::generation::manifest::Generation;
use crate::generation::root::{Root, generation, numbered, root};
use crate::metadata::cache::Shelf;
use crate::seal::Seal;
use millrace_core::order::repositories_of;
use millrace_core::platform::Platform;
use millrace_core::{PlatformName, Timestamp};
use millrace_store::BlobStore;

/// Makes a platform's repositories where they are not there yet: empty, signed, and good for a `.repo` file. A platform whose
/// key is another one now has its metadata signed anew.
pub async fn prepare(
    platform: &Platform,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let add = |current: Generation, _: Option<&Root>| {
        let (next, new) = current.with_repositories(
            repositories_of(&platform.architectures)
                .iter()
                .map(ToString::to_string),
        );
        Ok((!new.is_empty()).then_some((next, new)))
    };
    change(
        &platform.name,
        Sealing::Anew(&platform.key),
        &Shelf::default(),
        seal,
        blobs,
        now,
        add,
    )
    .await
    .map(drop)
}

/// Puts the packages of an earlier generation in place of what is there, by a new generation: numbers only grow, so that
/// clients and caches notice. Where the packages are those already, nothing is changed.
pub async fn rollback(
    platform: &PlatformName,
    number: u64,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<Changed, ReleaseError> {
    let none = || ReleaseError::NoGeneration {
        platform: platform.clone(),
        number,
    };
    let at = root(platform, blobs)
        .await?
        .ok_or_else(none)?
        .released
        .generation;
    let key = generation(platform, &at, blobs).await?.key;
    let (earlier, _) = numbered(platform, at, number, blobs)
        .await?
        .ok_or_else(none)?;
    let put_back = |current: Generation, _: Option<&Root>| {
        let (next, changed) = current.with_packages_of(&earlier);
        Ok((!changed.is_empty()).then_some((next, changed)))
    };
    change(
        platform,
        Sealing::AsBefore(&key),
        &Shelf::default(),
        seal,
        blobs,
        now,
        put_back,
    )
    .await
}
