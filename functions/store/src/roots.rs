//! What was in the roots of builds, as runners have handed it in.

use crate::blob::{BlobError, BlobStore};
use millrace_core::Digest;
use millrace_core::build::Build;
use millrace_core::roots::{LOCK_BYTES_MAX, LOCK_VERSION, Lock, TaskRoots};

/// What was handed in cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The store does not give it.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A runner of another version has handed it in, or none at all.
    #[error("the record {0} of roots makes no sense")]
    Senseless(Digest, #[source] serde_json::Error),
}

/// What was in all roots of a build, those of the last attempt at each task that had some; none if nobody has written it down.
pub async fn lock_of(blobs: &impl BlobStore, build: &Build) -> Result<Option<Lock>, RootsError> {
    let mut tasks = Vec::new();
    for digest in build
        .tasks
        .iter()
        .filter_map(|task| task.attempts.iter().rev().find_map(|attempt| attempt.roots))
    {
        tasks.push(roots(blobs, &digest).await?);
    }
    let announced = &build.push.announced;
    Ok((!tasks.is_empty()).then(|| Lock {
        version: LOCK_VERSION,
        build: build.id.clone(),
        package: announced.package.clone(),
        commit: announced.commit.clone(),
        platform: build.platform.name.clone(),
        tasks,
    }))
}

/// What was in the roots of one attempt.
pub async fn roots(blobs: &impl BlobStore, digest: &Digest) -> Result<TaskRoots, RootsError> {
    let text = blobs.read_all(digest, LOCK_BYTES_MAX).await?;
    serde_json::from_slice(&text).map_err(|error| RootsError::Senseless(*digest, error))
}
