//! A file of a repository, by its content.

use millrace_core::Digest;
use millrace_store::{BlobError, BlobStore};
use serde::{Deserialize, Serialize};

/// A file by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// Its bytes.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// Keeps a file.
pub async fn put(bytes: Vec<u8>, blobs: &impl BlobStore) -> Result<FileRef, BlobError> {
    let size = bytes.len() as u64;
    Ok(FileRef {
        digest: blobs.put(bytes).await?,
        size,
    })
}
