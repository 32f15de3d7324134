//! Carries a release out: metadata, signature, and one swap of the pointer that everybody reads.

use crate::generation::{FileRef, Generation, Next, Taken};
use crate::package::describe;
use crate::repodata::{self, REPOMD};
use crate::root::{Released, Root, generation, numbered, root, swap, swap_without};
use crate::shelf::Shelf;
use millrace_core::build::Event;
use millrace_core::order::{ReleaseOrder, repositories_of};
use millrace_core::platform::Platform;
use millrace_core::{Digest, KeyName, PlatformName, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::{
    AdvanceError, BlobError, BlobStore, StateError, StateStore, tell_build, tell_given_up,
};
use std::collections::BTreeMap;
use std::future::Future;

/// Largest file of certificates, in bytes: a key is replaced once in some years, and its certificate has some kilobytes.
const CERTIFICATE_BYTES_MAX: u64 = 4 << 20;

/// What a releaser says that comes too late.
const WITHDRAWN: &str = "the release was given up before it was carried out: push again";

/// Times that a release is made anew because another one came first. Each time another release got on.
const CONFLICTS_MAX: usize = 100;

/// The signature was not made. A retry may help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the metadata is not signed: {0}")]
pub struct SealError(pub String);

/// Whoever signs repository metadata: the releaser holds no key.
pub trait Seal: Send + Sync {
    /// An armored detached OpenPGP signature of a `repomd.xml`, made as of a time in seconds since 1970.
    fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> impl Future<Output = Result<Vec<u8>, SealError>> + Send;

    /// The key's public certificate, armored.
    fn public_key(&self, key: &KeyName) -> impl Future<Output = Result<Vec<u8>, SealError>> + Send;
}

/// A release that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It is wrong for good; the build ends with these words.
    #[error("{0}")]
    Refused(String),
    /// The signer's trouble. A retry may help.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The blob store's trouble. A retry may help.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The state store's trouble. A retry may help.
    #[error(transparent)]
    State(#[from] StateError),
    /// The build could not be told. A retry may help: the packages are out, and it will be told so.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    /// The stored generation makes no sense; a person must look.
    #[error("what platform {platform} has released cannot be read: {problem}")]
    Corrupt {
        /// Whose.
        platform: PlatformName,
        /// What is wrong.
        problem: String,
    },
    /// Other releases came first, again and again. A retry may help.
    #[error("other releases of platform {0} came first, again and again")]
    Busy(PlatformName),
    /// There is no such generation to go back to; whoever named it must name another one.
    #[error("platform {platform} has no generation {number}")]
    NoGeneration {
        /// Whose.
        platform: PlatformName,
        /// Which was named.
        number: u64,
    },
}

impl From<Taken> for ReleaseError {
    fn from(taken: Taken) -> Self {
        Self::Refused(taken.to_string())
    }
}

/// Acts on an order: releases, and tells the build. Doing it twice comes to the same release.
pub async fn release<S: StateStore, B: BlobStore>(
    order: &ReleaseOrder,
    seal: &impl Seal,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let build = load_build(state, &order.build).await?;
    // A build that does not want this any more, or never did, gets nothing: an effect that comes late does no harm.
    if build.is_none_or(|(build, _)| build.vouches_for_release(order).is_err()) {
        return Ok(());
    }
    let event = match publish(order, seal, blobs, now).await {
        Ok(Released { generation, number }) => Event::Released {
            order: order.id,
            generation,
            number,
        },
        Err(ReleaseError::Refused(reason)) => Event::ReleaseRefused {
            order: order.id,
            reason,
        },
        Err(error) => return Err(error),
    };
    Ok(tell_build(state, &order.build, event, now).await?)
}

/// Takes an order back, and tells the build; where it is out by now the build hears that instead. An error is passing.
pub async fn give_up<S: StateStore, B: BlobStore>(
    order: &ReleaseOrder,
    reason: &str,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let event = match withdraw(order, blobs).await? {
        Some(Released { generation, number }) => Event::Released {
            order: order.id,
            generation,
            number,
        },
        None => Event::ReleaseRefused {
            order: order.id,
            reason: reason.to_owned(),
        },
    };
    Ok(tell_given_up(state, &order.build, event, now).await?)
}

/// Puts an order's packages into the repositories. Answers the generation that first had them.
pub async fn publish(
    order: &ReleaseOrder,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<Released, ReleaseError> {
    let mut shelf = Shelf::default();
    let metadata = match describe(order, blobs).await {
        Ok(packages) => shelf.keep(packages, blobs).await?,
        // What is out is out: an order that was carried out before is answered so, even where its packages were lost since, or
        // this releaser asks more of them than the one that carried it out.
        Err(error) => return carried_out(order, blobs).await?.ok_or(error),
    };
    let add = |current: Generation, at: Option<&Root>| {
        if current.orders.contains_key(&order.id) {
            return Ok(None);
        }
        if at.is_some_and(|root| root.has_withdrawn(&order.id)) {
            return Err(ReleaseError::Refused(WITHDRAWN.to_owned()));
        }
        Ok(Some(current.with_order(order, &metadata)?))
    };
    match change(
        &order.platform,
        Sealing::AsBefore(&order.key),
        &shelf,
        seal,
        blobs,
        now,
        add,
    )
    .await?
    {
        Changed::To(released) => Ok(released),
        Changed::Not(at) => first_with(order, at, blobs).await,
    }
}

/// Takes an order back: from now on no releaser carries it out, however late it comes to it. Where one has done so already the
/// answer is the generation that did, and the packages stay.
///
/// Carrying out and taking back are decided by the same swap, so of two that try at once exactly one does it.
pub async fn withdraw(
    order: &ReleaseOrder,
    blobs: &impl BlobStore,
) -> Result<Option<Released>, ReleaseError> {
    for _ in 0..CONFLICTS_MAX {
        // A platform's first generation is made before the platform can be built for: where there is none, nothing can be out.
        let Some(root) = root(&order.platform, blobs).await? else {
            return Ok(None);
        };
        if let Some(released) = carried_out_by(order, root.released, blobs).await? {
            return Ok(Some(released));
        }
        if root.has_withdrawn(&order.id)
            || swap_without(&order.platform, order.id, &root, blobs).await?
        {
            return Ok(None);
        }
    }
    Err(ReleaseError::Busy(order.platform.clone()))
}

/// The generation that carried an order out, if one did.
async fn carried_out(
    order: &ReleaseOrder,
    blobs: &impl BlobStore,
) -> Result<Option<Released>, ReleaseError> {
    let Some(root) = root(&order.platform, blobs).await? else {
        return Ok(None);
    };
    carried_out_by(order, root.released, blobs).await
}

/// The same as of a generation that was read.
async fn carried_out_by(
    order: &ReleaseOrder,
    at: Released,
    blobs: &impl BlobStore,
) -> Result<Option<Released>, ReleaseError> {
    let now = generation(&order.platform, &at.generation, blobs).await?;
    if now.orders.contains_key(&order.id) {
        first_with(order, at, blobs).await.map(Some)
    } else {
        Ok(None)
    }
}

/// The generation that carried an order out; `at` is one that has it.
async fn first_with(
    order: &ReleaseOrder,
    at: Released,
    blobs: &impl BlobStore,
) -> Result<Released, ReleaseError> {
    let now = generation(&order.platform, &at.generation, blobs).await?;
    let number = now.orders.get(&order.id).copied().unwrap_or(at.number);
    let found = numbered(&order.platform, at.generation, number, blobs).await?;
    Ok(found.map_or(at, |(_, generation)| Released { generation, number }))
}

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
enum Sealing<'a> {
    /// This one, and what another one sealed is sealed anew.
    Anew(&'a KeyName),
    /// The one that sealed the generation before; packages that come with the change may be signed with this one.
    AsBefore(&'a KeyName),
}

/// Makes the next generation by a rule, which answers none where nothing is to change; anew where somebody else came first. On the
/// shelf is what is known of packages by now.
async fn change(
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

/// The generation with this key, and whether that is news. Packages stay signed with the key that they were signed with, so
/// clients are given both.
async fn with_key(
    mut generation: Generation,
    key: &KeyName,
    certificate: &[u8],
    blobs: &impl BlobStore,
) -> Result<(Generation, bool), ReleaseError> {
    let digest = Digest::of(certificate);
    if generation.key == *key && generation.key_certificate == digest {
        return Ok((generation, false));
    }
    let known = blobs
        .read_all(&generation.certificate.digest, CERTIFICATE_BYTES_MAX)
        .await?;
    if !lists(&known, certificate) {
        generation.certificate = put([certificate, b"\n", &known].concat(), blobs).await?;
    }
    (generation.key, generation.key_certificate) = (key.clone(), digest);
    Ok((generation, true))
}

/// The generation with the certificates of its own key and of a key that packages are signed with, behind those that it has.
async fn with_certificates(
    mut generation: Generation,
    key: &KeyName,
    certificate: &[u8],
    seal: &impl Seal,
    blobs: &impl BlobStore,
) -> Result<Generation, ReleaseError> {
    // Under its old name, the generation's key may be another one by now.
    let own = if generation.key == *key {
        certificate.to_vec()
    } else {
        seal.public_key(&generation.key).await?
    };
    for certificate in [own.as_slice(), certificate] {
        if Digest::of(certificate) == generation.key_certificate {
            continue;
        }
        let known = blobs
            .read_all(&generation.certificate.digest, CERTIFICATE_BYTES_MAX)
            .await?;
        if !lists(&known, certificate) {
            generation.certificate =
                put([&known, b"\n".as_slice(), certificate].concat(), blobs).await?;
        }
    }
    Ok(generation)
}

/// Whether a certificate is among those of a list: its lines stand there as they are.
fn lists(known: &[u8], certificate: &[u8]) -> bool {
    let ended = |bytes: &[u8]| [bytes.trim_ascii_end(), b"\n"].concat();
    let (known, certificate) = (ended(known), ended(certificate));
    let begins = |at: usize| at == 0 || known[at - 1] == b'\n';
    known
        .windows(certificate.len())
        .enumerate()
        .any(|(at, lines)| lines == certificate && begins(at))
}

/// Writes and signs the metadata of one repository.
async fn write_repodata(
    next: &mut Generation,
    name: &str,
    shelf: &Shelf,
    seal: &impl Seal,
    blobs: &impl BlobStore,
) -> Result<(), ReleaseError> {
    let Some(repository) = next.repositories.get_mut(name) else {
        return Ok(());
    };
    let packages: Vec<_> = repository
        .packages
        .values()
        .map(|entry| (entry.file.digest, entry.metadata))
        .collect();
    let packages = shelf.of(&packages, &next.platform, blobs).await?;
    let mut repodata = BTreeMap::new();
    for (file, bytes) in
        repodata::files(&packages, next.number, next.released_s).map_err(BlobError::Io)?
    {
        if file == REPOMD {
            let signature = seal.seal(&next.key, &bytes, next.released_s).await?;
            repodata.insert(format!("{REPOMD}.asc"), put(signature, blobs).await?);
        }
        repodata.insert(file, put(bytes, blobs).await?);
    }
    repository.repodata = repodata;
    Ok(())
}

async fn put(bytes: Vec<u8>, blobs: &impl BlobStore) -> Result<FileRef, ReleaseError> {
    let size = bytes.len() as u64;
    Ok(FileRef {
        digest: blobs.put(bytes).await?,
        size,
    })
}
