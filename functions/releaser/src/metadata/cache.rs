//! What the metadata says of packages, kept for the releases to come.
//!
//! The packages of an order lie together in a blob, not each in one of its own: an object that is written costs as much as a dozen that
//! are read, and what is read together comes in one answer (the page "Amazon S3 pricing").

use crate::error::ReleaseError;
use crate::metadata::repodata::Pieces;
use millrace_core::{Digest, PlatformName};
use millrace_store::{BlobError, BlobStore};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes in a blob after which another one is begun: a hundred usual packages, and no more than a releaser can hold besides the rest.
const TOGETHER_BYTES: usize = 4 << 20;

/// Largest blob of them, in bytes: one package may be larger than all that lie together. A kernel's list of files has about 2 MB.
const BLOB_BYTES_MAX: u64 = 64 << 20;

/// What lies in a blob.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    /// Of several packages, by their digests.
    Together(BTreeMap<Digest, Pieces>),
    /// Of one, as releasers before this one kept it.
    Alone(Pieces),
}

/// Pieces that are at hand, by the digests of their packages' blobs and by those of the packages.
#[derive(Debug, Default)]
pub struct Shelf(BTreeMap<Digest, BTreeMap<Digest, Pieces>>);

impl Shelf {
    /// Keeps what was found out about packages, in this order; answers in which blob that of each is.
    pub async fn keep(
        &mut self,
        packages: Vec<(Digest, Pieces)>,
        blobs: &impl BlobStore,
    ) -> Result<BTreeMap<Digest, Digest>, BlobError> {
        let (mut places, mut together, mut bytes) = (BTreeMap::new(), BTreeMap::new(), 0);
        let mut packages = packages.into_iter().peekable();
        while let Some((package, pieces)) = packages.next() {
            bytes += pieces.bytes();
            together.insert(package, pieces);
            let next = packages.peek().map(|(_, pieces)| pieces.bytes());
            if next.is_none_or(|next| bytes + next > TOGETHER_BYTES) {
                let together = std::mem::take(&mut together);
                let blob = blobs
                    .put(serde_json::to_vec(&together).map_err(std::io::Error::from)?)
                    .await?;
                places.extend(together.keys().map(|package| (*package, blob)));
                self.0.insert(blob, together);
                bytes = 0;
            }
        }
        Ok(places)
    }

    /// Reads what is not at hand of these blobs. `of` has released them.
    async fn read(
        &self,
        wanted: BTreeSet<Digest>,
        of: &PlatformName,
        blobs: &impl BlobStore,
    ) -> Result<BTreeMap<Digest, Kept>, ReleaseError> {
        let mut read = BTreeMap::new();
        for blob in wanted.into_iter().filter(|blob| !self.0.contains_key(blob)) {
            let bytes = blobs.read_all(&blob, BLOB_BYTES_MAX).await?;
            let corrupt = |error: serde_json::Error| ReleaseError::Corrupt {
                platform: of.clone(),
                problem: error.to_string(),
            };
            read.insert(blob, serde_json::from_slice(&bytes).map_err(corrupt)?);
        }
        Ok(read)
    }

    /// What is known of packages, each named by its digest and its blob's, in this order.
    pub async fn of(
        &self,
        packages: &[(Digest, Digest)],
        of: &PlatformName,
        blobs: &impl BlobStore,
    ) -> Result<Vec<Pieces>, ReleaseError> {
        let mut read = self
            .read(packages.iter().map(|(_, blob)| *blob).collect(), of, blobs)
            .await?;
        let found = packages.iter().map(|(package, blob)| {
            let pieces = match self.0.get(blob) {
                Some(together) => together.get(package).cloned(),
                None => taken(&mut read, package, blob),
            };
            let lost = || ReleaseError::Corrupt {
                platform: of.clone(),
                problem: format!("{blob} says nothing of package {package}"),
            };
            pieces.ok_or_else(lost)
        });
        found.collect()
    }
}

/// What is said of a package, taken from what was read: a repository has each of its packages once.
fn taken(read: &mut BTreeMap<Digest, Kept>, package: &Digest, blob: &Digest) -> Option<Pieces> {
    if let Kept::Together(together) = read.get_mut(blob)? {
        return together.remove(package);
    }
    match read.remove(blob)? {
        Kept::Alone(pieces) => Some(pieces),
        Kept::Together(_) => None,
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
        let mut shelf = Shelf::default();
        let kept = shelf.keep(packages.clone(), &store).await.unwrap();
        let blobs: Vec<Digest> = packages.iter().map(|(package, _)| kept[package]).collect();
        assert!(
            blobs[0] == blobs[1]
                && blobs[1] != blobs[2]
                && blobs[2] != blobs[3]
                && blobs[3] == blobs[4],
            "{blobs:?}"
        );
        let asked: Vec<_> = places(&kept, &packages).into_iter().rev().collect();
        for shelf in [shelf, Shelf::default()] {
            let found = shelf.of(&asked, &platform, &store).await.unwrap();
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
            Shelf::default()
                .of(&[(package, blob)], &platform, &store)
                .await
                .unwrap(),
            [pieces]
        );
    }

    #[tokio::test]
    async fn what_is_not_where_it_should_be_is_said_to_be_corrupt() {
        let (store, platform) = (MemoryStore::new(), "el10".parse().unwrap());
        let kept = Shelf::default()
            .keep(vec![package(1, 10)], &store)
            .await
            .unwrap();
        let blob = *kept.values().next().unwrap();
        let error = Shelf::default()
            .of(&[(Digest::of(&[2]), blob)], &platform, &store)
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
