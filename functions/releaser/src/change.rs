//! How the next generation is made: metadata, signature, and one swap of the pointer that everybody reads.

use crate::error::ReleaseError;
use crate::generation::certificate::{with_certificates, with_key};
use crate::generation::file::put;
use crate::generation::manifest::{Generation, Next};
use crate::generation::root::{Released, Root, generation, root, swap};
use crate::metadata::cache::Shelf;
use crate::metadata::repository::write_repodata;
use crate::seal::Seal;
use millrace_core::{KeyName, PlatformName, Timestamp};
use millrace_store::BlobStore;

/// Times that a release is made anew because another one came first. Each time another release got on.
pub(crate) const CONFLICTS_MAX: usize = 100;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// This is what everybody reads now.
    To(Released),
    /// Nothing was to be changed in this.
    Not(Released),
}

/// Which key seals the metadata. Only a platform that is added with another key changes it: an order may have been made before
/// that, and must not take the change back.
pub enum Sealing<'a> {
    /// This one, and what another one sealed is sealed anew.
    Anew(&'a KeyName),
    /// The one that sealed the generation before; packages that come with the change may be signed with this one.
    AsBefore(&'a KeyName),
}

/// Makes the next generation by a rule, which answers none where nothing is to change; anew where somebody else came first. On the
/// shelf is what is known of packages by now.
pub async fn change(
    platform: &PlatformName,
    sealing: Sealing<'_>,
    shelf: &Shelf,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
    rule: impl Fn(Generation, Option<&Root>) -> Result<Option<Next>, ReleaseError>,
) -> Result<Changed, ReleaseError> {
    let (Sealing::Anew(key) | Sealing::AsBefore(key)) = sealing;
    let certificate = seal.public_key(key).await?;
    for _ in 0..CONFLICTS_MAX {
        let found = root(platform, blobs).await?;
        let current = match &found {
            Some(root) => generation(platform, &root.released.generation, blobs).await?,
            None => Generation::none(platform, key, put(certificate.clone(), blobs).await?),
        };
        let (keyed, is_rekeyed) = match sealing {
            Sealing::Anew(_) => with_key(current, key, &certificate, blobs).await?,
            Sealing::AsBefore(_) => (
                with_certificates(current, key, &certificate, seal, blobs).await?,
                false,
            ),
        };
        let (mut next, mut stale) = match (rule(keyed.clone(), found.as_ref())?, &found) {
            (Some(next), _) => next,
            (None, Some(root)) if !is_rekeyed => return Ok(Changed::Not(root.released)),
            (None, _) => keyed.with_repositories([]),
        };
        if is_rekeyed {
            stale = next.repositories.keys().cloned().collect();
        }
        next.number += 1;
        next.previous = found.as_ref().map(|root| root.released.generation);
        next.released_s = next.released_s.max(now.0 / 1000);
        for name in &stale {
            write_repodata(&mut next, name, shelf, seal, blobs).await?;
        }
        if let Some(released) = swap(&next, found.as_ref(), blobs).await? {
            return Ok(Changed::To(released));
        }
    }
    Err(ReleaseError::Busy(platform.clone()))
}
