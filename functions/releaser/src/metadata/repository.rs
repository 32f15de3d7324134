//! Writes and signs the metadata of one repository.

use crate::error::ReleaseError;
use crate::generation::file::FileRef;
use crate::generation::manifest::Generation;
use crate::metadata::cache::MetadataCache;
use crate::metadata::repomd::{self, REPOMD};
use crate::seal::Seal;
use millrace_store::{BlobError, BlobStore};
use std::collections::BTreeMap;

/// Writes and signs the metadata of one repository.
pub async fn write_repodata(
    next: &mut Generation,
    name: &str,
    metadata: &MetadataCache,
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
    let packages = metadata.read(&packages, &next.platform, blobs).await?;
    let mut repodata = BTreeMap::new();
    for (file, bytes) in
        repomd::files(&packages, next.number, next.released_s).map_err(BlobError::Io)?
    {
        if file == REPOMD {
            let signature = seal.seal(&next.key, &bytes, next.released_s).await?;
            repodata.insert(
                format!("{REPOMD}.asc"),
                FileRef::put(signature, blobs).await?,
            );
        }
        repodata.insert(file, FileRef::put(bytes, blobs).await?);
    }
    repository.repodata = repodata;
    Ok(())
}
