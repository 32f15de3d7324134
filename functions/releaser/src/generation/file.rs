//! A file of a repository, by its content.

use millrace_core::Digest;
use millrace_store::{BlobError, BlobStore};
use serde::{Deserialize, Serialize};

/// A file by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

impl FileRef {
    /// That of a file with these bytes, which need not be kept.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        }
    }

    /// Keeps a file.
    pub async fn put(bytes: Vec<u8>, blobs: &impl BlobStore) -> Result<Self, BlobError> {
        let size = bytes.len() as u64;
        let digest = blobs.put(bytes).await?;
        Ok(Self { digest, size })
    }
}
