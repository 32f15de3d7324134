//! How the next generation is made: read what is current, decide, write metadata, and swap the pointer that everybody reads.

use crate::error::ReleaseError;
use crate::generation::certificate::{give_key, trust_key};
use crate::generation::file::FileRef;
use crate::generation::manifest::{Generation, NextGeneration};
use crate::generation::root::{Current, GenerationRef, point_to, read_current};
use crate::metadata::cache::MetadataCache;
use crate::metadata::repository::write_repodata;
use crate::seal::Seal;
use millrace_core::{KeyName, PlatformName, Timestamp};
use millrace_store::BlobStore;

/// Times that a release is made again because another one came first. Each time another release got on.
pub const CONFLICTS_MAX: usize = 100;

/// A change to what a platform has released.
pub struct Change<'a, S, B> {
    pub platform: &'a PlatformName,
    pub sealing: SealingKey<'a>,
    /// What is known of packages by now.
    pub metadata: &'a MetadataCache,
    pub seal: &'a S,
    pub blobs: &'a B,
    pub now: Timestamp,
}

/// Which key seals the metadata. Only a platform that is added with another key changes it: an order may have been made before
/// that, and must not take the change back.
#[derive(Debug, Clone, Copy)]
pub enum SealingKey<'a> {
    /// This one, and what another one sealed is sealed again.
    Anew(&'a KeyName),
    /// The one that sealed the generation before; packages that come with the change may be signed with this one.
    AsBefore(&'a KeyName),
}

/// How a change ended.
pub enum ChangeOutcome {
    /// Everybody reads this now.
    Released(GenerationRef),
    /// There was nothing to change in this.
    Unchanged(Box<Current>),
}

impl<S: Seal, B: BlobStore> Change<'_, S, B> {
    /// Makes the next generation by a rule, which is given the generation before and answers none if nothing is to change. If another
    /// release came first, the rule is asked again about what is released by then; also before it refuses, since a refusal is for good and
    /// `current` may have been read long ago.
    pub async fn make(
        &self,
        mut current: Option<Current>,
        rule: impl Fn(&Generation, Option<&Current>) -> Result<Option<NextGeneration>, ReleaseError>,
    ) -> Result<ChangeOutcome, ReleaseError> {
        let (SealingKey::Anew(key) | SealingKey::AsBefore(key)) = self.sealing;
        let certificate = self.seal.public_key(key).await?;
        for _ in 0..CONFLICTS_MAX {
            let first = Generation::none(self.platform, key, FileRef::of(&certificate));
            let before = current.as_ref().map_or(&first, |found| &found.generation);
            let decided = match rule(before, current.as_ref()) {
                Ok(decided) => decided,
                Err(refused @ ReleaseError::Refused(_)) => {
                    let by_now = read_current(self.platform, self.blobs).await?;
                    let is_as_before = match (&by_now, &current) {
                        (Some(by_now), Some(current)) => by_now.root.says_as(&current.root),
                        (by_now, current) => by_now.is_none() && current.is_none(),
                    };
                    if is_as_before {
                        return Err(refused);
                    }
                    current = by_now;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(mut next) = self.complete(decided, before, current.as_ref(), &certificate)
            else {
                let current = current.expect("a first generation is always a change");
                return Ok(ChangeOutcome::Unchanged(Box::new(current)));
            };
            self.write(&mut next, current.as_ref(), &certificate)
                .await?;
            let root = current.as_ref().map(|found| &found.root);
            if let Some(released) = point_to(&next.generation, root, self.blobs).await? {
                return Ok(ChangeOutcome::Released(released));
            }
            current = read_current(self.platform, self.blobs).await?;
        }
        Err(ReleaseError::Busy(self.platform.clone()))
    }

    /// What a rule decided, with what follows from the key and the time; none if nothing changes.
    fn complete(
        &self,
        decided: Option<NextGeneration>,
        before: &Generation,
        current: Option<&Current>,
        certificate: &[u8],
    ) -> Option<NextGeneration> {
        let is_rekeyed = match self.sealing {
            SealingKey::Anew(key) => !before.has_key(key, certificate),
            SealingKey::AsBefore(_) => false,
        };
        let is_change = is_rekeyed || current.is_none();
        let mut next =
            decided.or_else(|| is_change.then(|| before.clone().with_repositories([])))?;
        let generation = &mut next.generation;
        if is_rekeyed {
            next.stale = generation.repositories.keys().cloned().collect();
        }
        generation.number += 1;
        generation.previous = current.map(|found| found.root.current.generation);
        generation.released_s = generation.released_s.max(self.now.0 / 1000);
        Some(next)
    }

    /// Writes what the next generation names: certificates, and the metadata of its stale repositories.
    async fn write(
        &self,
        next: &mut NextGeneration,
        current: Option<&Current>,
        certificate: &[u8],
    ) -> Result<(), ReleaseError> {
        let Self {
            metadata,
            seal,
            blobs,
            ..
        } = *self;
        let generation = &mut next.generation;
        match self.sealing {
            _ if current.is_none() => {
                FileRef::put(certificate.to_vec(), blobs).await?;
            }
            SealingKey::Anew(key) => give_key(generation, key, certificate, blobs).await?,
            SealingKey::AsBefore(key) => {
                trust_key(generation, key, certificate, seal, blobs).await?;
            }
        }
        for name in &next.stale {
            write_repodata(generation, name, metadata, seal, blobs).await?;
        }
        Ok(())
    }
}
