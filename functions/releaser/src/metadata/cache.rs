//! What the metadata says of packages, kept for the releases to come.
//!
//! The packages of an order lie together in a blob, not each in one of its own. An object that is written costs as much as a dozen that
//! are read, and what is read together comes in one answer (the page "Amazon S3 pricing").

use crate::error::{Corruption, ReleaseError};
use crate::metadata::pieces::Pieces;
use millrace_core::{Digest, PlatformName};
use millrace_store::{BlobError, BlobStore};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes in a blob after which another one is begun: a hundred usual packages, and no more than a releaser can hold besides the rest.
const TOGETHER_BYTES: usize = 4 << 20;

/// Largest blob of them, in bytes: one package may be larger than all that lie together. A kernel's list of files has about 2 MB.
const BLOB_BYTES_MAX: u64 = 64 << 20;

/// What a blob holds.
#[derive(Deserialize)]
#[serde(untagged)]
enum MetadataBlob {
    /// Of several packages, by their digests.
    Together(BTreeMap<Digest, Pieces>),
    /// Of one, as releasers before this one kept it.
    Alone(Pieces),
}

/// What the metadata says of packages, in memory: by the digests of the blobs that hold it, and by those of the packages. What is not in
/// memory is read from the store.
#[derive(Debug, Default)]
pub struct MetadataCache(BTreeMap<Digest, BTreeMap<Digest, Pieces>>);

impl MetadataCache {
    /// Keeps what was found out about packages, in this order; answers in which blob that of each is.
    pub async fn keep(
        &mut self,
        packages: Vec<(Digest, Pieces)>,
        blobs: &impl BlobStore,
    ) -> Result<BTreeMap<Digest, Digest>, BlobError> {
        let mut blob_of = BTreeMap::new();
        for together in in_blobs(packages) {
            let document = serde_json::to_vec(&together).map_err(std::io::Error::from)?;
            let blob = blobs.put(document).await?;
            blob_of.extend(together.keys().map(|package| (*package, blob)));
            self.0.insert(blob, together);
        }
        Ok(blob_of)
    }

    /// What is known of packages, each named by its digest and its blob's, in this order. `platform` has released them.
    pub async fn read(
        &self,
        packages: &[(Digest, Digest)],
        platform: &PlatformName,
        blobs: &impl BlobStore,
    ) -> Result<Vec<Pieces>, ReleaseError> {
        let mut fetched = self.fetch(packages, platform, blobs).await?;
        let mut all = Vec::with_capacity(packages.len());
        for (package, blob) in packages {
            let pieces = match self.0.get(blob) {
                Some(together) => together.get(package).cloned(),
                None => take(&mut fetched, package, blob),
            };
            let missing = Corruption::NoMetadata {
                blob: *blob,
                package: *package,
            };
            all.push(pieces.ok_or_else(|| ReleaseError::corrupt(platform, missing))?);
        }
        Ok(all)
    }

    /// Reads those blobs that are not in memory.
    async fn fetch(
        &self,
        packages: &[(Digest, Digest)],
        platform: &PlatformName,
        blobs: &impl BlobStore,
    ) -> Result<BTreeMap<Digest, MetadataBlob>, ReleaseError> {
        let wanted: BTreeSet<Digest> = packages.iter().map(|(_, blob)| *blob).collect();
        let mut fetched = BTreeMap::new();
        for blob in wanted.into_iter().filter(|blob| !self.0.contains_key(blob)) {
            let bytes = blobs.read_all(&blob, BLOB_BYTES_MAX).await?;
            let document = serde_json::from_slice(&bytes)
                .map_err(|error| ReleaseError::corrupt(platform, error))?;
            fetched.insert(blob, document);
        }
        Ok(fetched)
    }
}

/// Packages, in this order, as they lie together.
fn in_blobs(packages: Vec<(Digest, Pieces)>) -> Vec<BTreeMap<Digest, Pieces>> {
    let mut all = Vec::new();
    let mut together = BTreeMap::new();
    let mut bytes = 0;
    for (package, pieces) in packages {
        if !together.is_empty() && bytes + pieces.bytes() > TOGETHER_BYTES {
            all.push(std::mem::take(&mut together));
            bytes = 0;
        }
        bytes += pieces.bytes();
        together.insert(package, pieces);
    }
    if !together.is_empty() {
        all.push(together);
    }
    all
}

/// What is said of a package, taken from what was read: a repository has each of its packages once.
fn take(
    fetched: &mut BTreeMap<Digest, MetadataBlob>,
    package: &Digest,
    blob: &Digest,
) -> Option<Pieces> {
    if let MetadataBlob::Together(together) = fetched.get_mut(blob)? {
        return together.remove(package);
    }
    match fetched.remove(blob)? {
        MetadataBlob::Alone(pieces) => Some(pieces),
        MetadataBlob::Together(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_store::memory::MemoryStore;

    fn package(number: u8, bytes: usize) -> (Digest, Pieces) {
        (Digest::of(&[number]), Pieces::of_length(bytes))
    }

    fn places(
        kept: &BTreeMap<Digest, Digest>,
        packages: &[(Digest, Pieces)],
    ) -> Vec<(Digest, Digest)> {
        packages
            .iter()
            .map(|(package, _)| (*package, kept[package]))
            .collect()
    }

    #[tokio::test]
    async fn what_is_kept_together_is_found_one_by_one_and_in_the_order_that_was_asked_for() {
        let (store, platform) = (MemoryStore::new(), "el10".parse().unwrap());
        let packages = vec![
            package(1, 10),
            package(2, 20),
            package(3, TOGETHER_BYTES),
            package(4, TOGETHER_BYTES / 2),
            package(5, 30),
        ];
        let mut cache = MetadataCache::default();
        let kept = cache.keep(packages.clone(), &store).await.unwrap();
        let blobs: Vec<Digest> = packages.iter().map(|(package, _)| kept[package]).collect();
        assert!(
            blobs[0] == blobs[1]
                && blobs[1] != blobs[2]
                && blobs[2] != blobs[3]
                && blobs[3] == blobs[4],
            "{blobs:?}"
        );
        let asked: Vec<_> = places(&kept, &packages).into_iter().rev().collect();
        for cache in [cache, MetadataCache::default()] {
            let found = cache.read(&asked, &platform, &store).await.unwrap();
            let expected: Vec<Pieces> = packages
                .iter()
                .rev()
                .map(|(_, pieces)| pieces.clone())
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[tokio::test]
    async fn what_an_earlier_releaser_kept_alone_is_found_too() {
        let (store, platform) = (MemoryStore::new(), "el10".parse().unwrap());
        let (package, pieces) = package(1, 10);
        let blob = store
            .put(serde_json::to_vec(&pieces).unwrap())
            .await
            .unwrap();
        assert_eq!(
            MetadataCache::default()
                .read(&[(package, blob)], &platform, &store)
                .await
                .unwrap(),
            [pieces]
        );
    }

    #[tokio::test]
    async fn what_is_not_where_it_should_be_is_said_to_be_corrupt() {
        let (store, platform) = (MemoryStore::new(), "el10".parse().unwrap());
        let kept = MetadataCache::default()
            .keep(vec![package(1, 10)], &store)
            .await
            .unwrap();
        let blob = *kept.values().next().unwrap();
        let error = MetadataCache::default()
            .read(&[(Digest::of(&[2]), blob)], &platform, &store)
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("what platform el10 has released cannot be read"),
            "{error}"
        );
    }
}
