//! The pointer to what a platform has released now, and the generations behind it.

use crate::generation::manifest::Generation;
use crate::error::ReleaseError;
use millrace_core::order::OrderId;
use millrace_core::{Digest, PlatformName};
use millrace_store::{BlobStore, PointerVersion, SwapError};
use serde::{Deserialize, Serialize};

/// Largest generation document, in bytes: 100,000 packages take about 40 MB.
const GENERATION_BYTES_MAX: u64 = 256 << 20;

/// Orders taken back that a root remembers. One is delivered late for as long as a message may be out, some minutes; this many are
/// not given up in that time, and each takes 80 bytes of a document that every release writes.
const WITHDRAWN_MAX: usize = 200;

/// A generation that was made, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The document.
    pub generation: Digest,
    /// Its number.
    pub number: u64,
}

/// What the pointer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pointed {
    #[serde(flatten)]
    released: Released,
    /// Orders that nobody may carry out any more, the latest last. They stand here, and not in a generation, because one swap decides
    /// between carrying an order out and taking it back, and nobody who reads a repository has to notice the latter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withdrawn: Vec<OrderId>,
}

/// What a platform has released now, as it was read.
pub(crate) struct Root {
    pub released: Released,
    withdrawn: Vec<OrderId>,
    version: PointerVersion,
}

impl Root {
    /// Whether an order was taken back.
    pub fn has_withdrawn(&self, order: &OrderId) -> bool {
        self.withdrawn.contains(order)
    }
}

fn pointer_name(platform: &PlatformName) -> String {
    format!("release/{platform}")
}

/// Under this name, a pointer says that a releaser made the generation: whatever else has such a digest was not made by one.
fn made_name(platform: &PlatformName, generation: &Digest) -> String {
    format!("release/{platform}/{}", generation.hex())
}

fn corrupt(platform: &PlatformName) -> impl FnOnce(serde_json::Error) -> ReleaseError {
    |error| ReleaseError::Corrupt {
        platform: platform.clone(),
        problem: error.to_string(),
    }
}

/// Reads the pointer; none where the platform has released nothing.
pub(crate) async fn root(
    platform: &PlatformName,
    blobs: &impl BlobStore,
) -> Result<Option<Root>, ReleaseError> {
    let Some((bytes, version)) = blobs.pointer(&pointer_name(platform)).await? else {
        return Ok(None);
    };
    let Pointed {
        released,
        withdrawn,
    } = serde_json::from_slice(&bytes).map_err(corrupt(platform))?;
    Ok(Some(Root {
        released,
        withdrawn,
        version,
    }))
}

/// Reads a generation.
pub(crate) async fn generation(
    platform: &PlatformName,
    digest: &Digest,
    blobs: &impl BlobStore,
) -> Result<Generation, ReleaseError> {
    let bytes = blobs.read_all(digest, GENERATION_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(corrupt(platform))
}

/// What a platform has released now, and under which digest.
pub async fn current(
    platform: &PlatformName,
    blobs: &impl BlobStore,
) -> Result<Option<(Generation, Digest)>, ReleaseError> {
    let Some(root) = root(platform, blobs).await? else {
        return Ok(None);
    };
    let digest = root.released.generation;
    Ok(Some((generation(platform, &digest, blobs).await?, digest)))
}

/// Whether a releaser made this generation of this platform. Asked before a stranger's digest is read as one: anybody who may
/// hand over an artifact could write such a document.
pub(crate) async fn was_made(
    platform: &PlatformName,
    digest: &Digest,
    blobs: &impl BlobStore,
) -> Result<bool, ReleaseError> {
    Ok(blobs.pointer(&made_name(platform, digest)).await?.is_some())
}

/// The generation of this number, among a generation and those before it.
pub(crate) async fn numbered(
    platform: &PlatformName,
    mut from: Digest,
    number: u64,
    blobs: &impl BlobStore,
) -> Result<Option<(Generation, Digest)>, ReleaseError> {
    loop {
        let found = generation(platform, &from, blobs).await?;
        match found.previous {
            _ if found.number == number => return Ok(Some((found, from))),
            Some(previous) if found.number > number => from = previous,
            Some(_) | None => return Ok(None),
        }
    }
}

/// Makes a generation the one that everybody reads; none where somebody else was first.
pub(crate) async fn swap(
    next: &Generation,
    found: Option<&Root>,
    blobs: &impl BlobStore,
) -> Result<Option<Released>, ReleaseError> {
    let document = serde_json::to_vec(next).map_err(corrupt(&next.platform))?;
    let released = Released {
        generation: blobs.put(document).await?,
        number: next.number,
    };
    // First the mark, so that whoever is told of the generation finds it; it may be there from a try that was cut short.
    match blobs
        .swap(
            &made_name(&next.platform, &released.generation),
            None,
            next.number.to_string().into_bytes(),
        )
        .await
    {
        Ok(_) | Err(SwapError::Conflict(_)) => {}
        Err(SwapError::Blob(error)) => return Err(error.into()),
    }
    let withdrawn = found.map(|root| root.withdrawn.clone()).unwrap_or_default();
    let moved = point(
        &next.platform,
        found,
        Pointed {
            released,
            withdrawn,
        },
        blobs,
    )
    .await?;
    Ok(moved.then_some(released))
}

/// Takes an order back in what everybody reads; false where somebody else was first.
pub(crate) async fn swap_without(
    platform: &PlatformName,
    order: OrderId,
    found: &Root,
    blobs: &impl BlobStore,
) -> Result<bool, ReleaseError> {
    let mut withdrawn = found.withdrawn.clone();
    withdrawn.push(order);
    withdrawn.drain(..withdrawn.len().saturating_sub(WITHDRAWN_MAX));
    point(
        platform,
        Some(found),
        Pointed {
            released: found.released,
            withdrawn,
        },
        blobs,
    )
    .await
}

async fn point(
    platform: &PlatformName,
    found: Option<&Root>,
    to: Pointed,
    blobs: &impl BlobStore,
) -> Result<bool, ReleaseError> {
    let bytes = serde_json::to_vec(&to).map_err(corrupt(platform))?;
    match blobs
        .swap(
            &pointer_name(platform),
            found.map(|root| &root.version),
            bytes,
        )
        .await
    {
        Ok(_) => Ok(true),
        Err(SwapError::Conflict(_)) => Ok(false),
        Err(SwapError::Blob(error)) => Err(error.into()),
    }
}
