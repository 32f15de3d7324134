//! Generations in memory, each read once: reading one takes longer than most requests.

use crate::error::ReleaseError;
use crate::generation::manifest::Generation;
use crate::generation::root::{read_generation, read_root, was_made};
use millrace_core::{Digest, PlatformName};
use millrace_store::BlobStore;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Generations kept in memory: some platforms' current ones, and those before them that clients are still busy with. Each may have some
/// tens of megabytes.
const GENERATIONS_MAX: usize = 8;

/// Generations by their digests; the one asked for last is at the back.
type Recent = VecDeque<(Digest, Arc<Generation>)>;

/// Reads generations, and keeps those that were asked for last.
#[derive(Clone)]
pub struct GenerationCache<B> {
    pub blobs: B,
    recent: Arc<Mutex<Recent>>,
}

impl<B: BlobStore> GenerationCache<B> {
    /// A cache that holds nothing yet.
    pub fn new(blobs: B) -> Self {
        Self {
            blobs,
            recent: Arc::default(),
        }
    }

    /// What a platform has released now.
    pub async fn current(
        &self,
        platform: &PlatformName,
    ) -> Result<Option<(Digest, Arc<Generation>)>, ReleaseError> {
        let Some(root) = read_root(platform, &self.blobs).await? else {
            return Ok(None);
        };
        let digest = root.current.generation;
        Ok(Some((digest, self.generation(platform, &digest).await?)))
    }

    /// What a platform had released once; none if no releaser ever made such a generation.
    pub async fn made(
        &self,
        platform: &PlatformName,
        digest: &Digest,
    ) -> Result<Option<Arc<Generation>>, ReleaseError> {
        if was_made(platform, digest, &self.blobs).await? {
            self.generation(platform, digest).await.map(Some)
        } else {
            Ok(None)
        }
    }

    async fn generation(
        &self,
        platform: &PlatformName,
        digest: &Digest,
    ) -> Result<Arc<Generation>, ReleaseError> {
        let known = self.get(digest);
        let generation = match known {
            Some(generation) => generation,
            None => Arc::new(read_generation(platform, digest, &self.blobs).await?),
        };
        self.put(*digest, Arc::clone(&generation));
        Ok(generation)
    }

    fn get(&self, digest: &Digest) -> Option<Arc<Generation>> {
        let recent = self.recent();
        let found = recent.iter().find(|(known, _)| known == digest);
        found.map(|(_, generation)| Arc::clone(generation))
    }

    fn put(&self, digest: Digest, generation: Arc<Generation>) {
        let mut recent = self.recent();
        recent.retain(|(known, _)| *known != digest);
        recent.push_back((digest, generation));
        if recent.len() > GENERATIONS_MAX {
            recent.pop_front();
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
