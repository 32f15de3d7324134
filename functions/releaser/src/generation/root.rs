//! The root document: one pointer per platform to the generation that everybody reads now, and the orders that were taken back.

use crate::error::ReleaseError;
use crate::generation::manifest::Generation;
use millrace_core::order::OrderId;
use millrace_core::{Digest, PlatformName};
use millrace_store::{BlobStore, PointerVersion, SwapError};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Largest generation document, in bytes: 100,000 packages take about 40 MB.
const GENERATION_BYTES_MAX: u64 = 256 << 20;

/// Orders taken back that a root remembers. One is delivered late for as long as a message may be under way, some minutes. This many are
/// not given up in that time, and each takes 80 bytes of a document that every release writes.
const WITHDRAWN_MAX: usize = 200;

/// A generation that was made, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationRef {
    /// The digest of its document.
    pub generation: Digest,
    /// Grows by one with every generation of a platform.
    pub number: u64,
}

/// The root document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RootDocument {
    #[serde(flatten)]
    current: GenerationRef,
    /// Orders that nobody may carry out any more, the latest last. They stand here, and not in a generation, because one swap decides
    /// between carrying an order out and taking it back, and nobody who reads a repository has to notice the latter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    withdrawn: Vec<OrderId>,
}

/// The root document as it was read, good for one swap.
pub struct Root {
    pub current: GenerationRef,
    withdrawn: Vec<OrderId>,
    version: PointerVersion,
}

impl Root {
    /// Whether two reads found the same: nothing was released or withdrawn in between.
    pub fn says_as(&self, other: &Self) -> bool {
        self.current == other.current && self.withdrawn == other.withdrawn
    }
}

/// What a platform has released now: its root, and the generation that this names.
pub struct Current {
    pub root: Root,
    pub generation: Generation,
}

/// What has become of an order by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// Nobody has carried it out or taken it back.
    Open,
    /// The generation of this number was the first to have its packages.
    CarriedOut { number: u64 },
    /// Nobody may carry it out any more.
    Withdrawn,
}

impl Current {
    /// What has become of an order.
    pub fn state_of(&self, order: &OrderId) -> OrderState {
        if let Some(number) = self.generation.orders.get(order) {
            return OrderState::CarriedOut { number: *number };
        }
        if self.root.withdrawn.contains(order) {
            return OrderState::Withdrawn;
        }
        OrderState::Open
    }

    /// The generation that carried an order out, if one did.
    pub async fn carried_out(
        &self,
        order: &OrderId,
        blobs: &impl BlobStore,
    ) -> Result<Option<GenerationRef>, ReleaseError> {
        let OrderState::CarriedOut { number } = self.state_of(order) else {
            return Ok(None);
        };
        let found = self.numbered(number, blobs).await?;
        let released = found.map_or(self.root.current, |(generation, _)| GenerationRef {
            generation,
            number,
        });
        Ok(Some(released))
    }

    /// The generation of this number, among the current one and those before it.
    pub async fn numbered(
        &self,
        number: u64,
        blobs: &impl BlobStore,
    ) -> Result<Option<(Digest, Cow<'_, Generation>)>, ReleaseError> {
        let mut digest = self.root.current.generation;
        let mut found = Cow::Borrowed(&self.generation);
        while found.number > number
            && let Some(previous) = found.previous
        {
            digest = previous;
            found = Cow::Owned(read_generation(&self.generation.platform, &previous, blobs).await?);
        }
        Ok((found.number == number).then_some((digest, found)))
    }
}

/// What has become of an order; a platform that has released nothing has carried out and taken back nothing.
pub fn order_state(order: &OrderId, current: Option<&Current>) -> OrderState {
    current.map_or(OrderState::Open, |current| current.state_of(order))
}

fn pointer_name(platform: &PlatformName) -> String {
    format!("release/{platform}")
}

/// Under this name, a pointer says that a releaser made the generation: anything else that has such a digest was not made by one.
fn made_name(platform: &PlatformName, generation: &Digest) -> String {
    format!("release/{platform}/{}", generation.hex())
}

/// Reads a platform's root; none if the platform has released nothing.
pub async fn read_root(
    platform: &PlatformName,
    blobs: &impl BlobStore,
) -> Result<Option<Root>, ReleaseError> {
    let Some((bytes, version)) = blobs.pointer(&pointer_name(platform)).await? else {
        return Ok(None);
    };
    let RootDocument { current, withdrawn } =
        serde_json::from_slice(&bytes).map_err(|error| ReleaseError::corrupt(platform, error))?;
    Ok(Some(Root {
        current,
        withdrawn,
        version,
    }))
}

/// Reads a generation.
pub async fn read_generation(
    platform: &PlatformName,
    digest: &Digest,
    blobs: &impl BlobStore,
) -> Result<Generation, ReleaseError> {
    let bytes = blobs.read_all(digest, GENERATION_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| ReleaseError::corrupt(platform, error))
}

/// Reads what a platform has released now; none if it has released nothing.
pub async fn read_current(
    platform: &PlatformName,
    blobs: &impl BlobStore,
) -> Result<Option<Current>, ReleaseError> {
    let Some(root) = read_root(platform, blobs).await? else {
        return Ok(None);
    };
    let generation = read_generation(platform, &root.current.generation, blobs).await?;
    Ok(Some(Current { root, generation }))
}

/// What a platform has released now, and under which digest.
pub async fn current(
    platform: &PlatformName,
    blobs: &impl BlobStore,
) -> Result<Option<(Generation, Digest)>, ReleaseError> {
    let current = read_current(platform, blobs).await?;
    Ok(current.map(|current| (current.generation, current.root.current.generation)))
}

/// Whether a releaser made this generation of this platform. Asked before a stranger's digest is read as one: anybody who may
/// hand over an artifact could write such a document.
pub async fn was_made(
    platform: &PlatformName,
    digest: &Digest,
    blobs: &impl BlobStore,
) -> Result<bool, ReleaseError> {
    Ok(blobs.pointer(&made_name(platform, digest)).await?.is_some())
}

/// Makes a generation the one that everybody reads; none if somebody else changed the root since it was read.
pub async fn point_to(
    next: &Generation,
    root: Option<&Root>,
    blobs: &impl BlobStore,
) -> Result<Option<GenerationRef>, ReleaseError> {
    let document =
        serde_json::to_vec(next).map_err(|error| ReleaseError::corrupt(&next.platform, error))?;
    let current = GenerationRef {
        generation: blobs.put(document).await?,
        number: next.number,
    };
    mark_as_made(next, &current.generation, blobs).await?;
    let withdrawn = root.map(|root| root.withdrawn.clone()).unwrap_or_default();
    let document = RootDocument { current, withdrawn };
    let is_swapped = swap(&next.platform, root, document, blobs).await?;
    Ok(is_swapped.then_some(current))
}

/// Says that a releaser made this generation. That comes before the swap, so that nobody is told of a generation without its mark; the
/// mark may be there from a try that was cut short.
async fn mark_as_made(
    next: &Generation,
    digest: &Digest,
    blobs: &impl BlobStore,
) -> Result<(), ReleaseError> {
    let name = made_name(&next.platform, digest);
    let number = next.number.to_string().into_bytes();
    match blobs.swap(&name, None, number).await {
        Ok(_) | Err(SwapError::Conflict(_)) => Ok(()),
        Err(SwapError::Blob(error)) => Err(error.into()),
    }
}

/// Takes an order back in the root; false if somebody else changed the root since it was read.
pub async fn withdraw_order(
    platform: &PlatformName,
    order: OrderId,
    root: &Root,
    blobs: &impl BlobStore,
) -> Result<bool, ReleaseError> {
    let mut withdrawn = root.withdrawn.clone();
    withdrawn.push(order);
    withdrawn.drain(..withdrawn.len().saturating_sub(WITHDRAWN_MAX));
    let document = RootDocument {
        current: root.current,
        withdrawn,
    };
    swap(platform, Some(root), document, blobs).await
}

async fn swap(
    platform: &PlatformName,
    root: Option<&Root>,
    document: RootDocument,
    blobs: &impl BlobStore,
) -> Result<bool, ReleaseError> {
    let bytes =
        serde_json::to_vec(&document).map_err(|error| ReleaseError::corrupt(platform, error))?;
    let version = root.map(|root| &root.version);
    match blobs.swap(&pointer_name(platform), version, bytes).await {
        Ok(_) => Ok(true),
        Err(SwapError::Conflict(_)) => Ok(false),
        Err(SwapError::Blob(error)) => Err(error.into()),
    }
}
