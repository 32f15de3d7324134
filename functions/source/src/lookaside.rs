//! Sources by digest: what the line has already, and what it takes from elsewhere.

use crate::digests::{Digests, digests};
use crate::download::download;
use crate::error::{FetchError, Refusal, Stop};
use crate::fetcher::Fetcher;
use millrace_core::sources::{Algorithm, SourceFile, WantedSource};
use millrace_core::{Digest, PackageName};
use millrace_store::records::{get, put, replace};
use millrace_store::{BlobStore, Expect, SaveError, StateStore, Table};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

/// The file that a digest other than SHA-256 stands for.
#[derive(Debug, Serialize, Deserialize)]
struct KnownSource {
    digest: Digest,
    size: u64,
}

/// Key of its record.
fn key_of(algorithm: Algorithm, digest: &str) -> String {
    format!("lookaside/{}/{digest}", algorithm.as_str())
}

/// A file that was put into the line's own lookaside store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UploadedSource {
    /// SHA-256, under which it is kept.
    pub sha256: Digest,
    /// SHA-512 in hexadecimal digits, for a line of `sources`.
    pub sha512: String,
    /// In bytes.
    pub size: u64,
}

/// Puts a file into the line's own lookaside store, where packages that name it by SHA-256, SHA-512 or SHA-1 find it. Twice
/// does no harm; a retry may help.
pub async fn upload_source(
    path: &Path,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<UploadedSource, FetchError> {
    let Digests {
        sha256,
        sha512,
        sha1,
        ..
    } = digests_of(path).await?;
    let (digest, size) = blobs.put_file(path).await?;
    if digest != sha256 {
        return Err(FetchError::Changed(sha256, digest));
    }
    let source = KnownSource { digest, size };
    let key = key_of(Algorithm::Sha512, &sha512);
    replace(state, Table::Setting, &key, &source).await?;
    if let Some(sha1) = sha1 {
        pin(&key_of(Algorithm::Sha1, &sha1), &source, state).await?;
    }
    Ok(UploadedSource {
        sha256,
        sha512,
        size,
    })
}

async fn digests_of(path: &Path) -> Result<Digests, FetchError> {
    let file = path.to_owned();
    let read = move || digests(&mut File::open(file)?, &mut std::io::sink());
    let digests = tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| FetchError::Stopped)??;
    Ok(digests)
}

/// Keeps what a SHA-1 digest stands for. The first file stays: SHA-1 does not vouch that a later one is the same.
async fn pin(key: &str, source: &KnownSource, state: &impl StateStore) -> Result<(), SaveError> {
    let kept = put(
        state,
        Table::Setting,
        key,
        Expect::Absent,
        source,
        Vec::new(),
    );
    match kept.await {
        Ok(()) | Err(SaveError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes sure that the line has a source: it has it already, or some lookaside store does.
pub(crate) async fn obtain(
    wanted: &WantedSource,
    package: &PackageName,
    fetcher: &Fetcher,
    until: Instant,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<SourceFile, Stop> {
    let path = wanted.path.clone();
    if let Some(KnownSource { digest, size }) = kept(wanted, state, blobs).await? {
        return Ok(SourceFile { path, digest, size });
    }
    let folder = fetcher.folder()?;
    let file = folder.path().join("source");
    download_to(&file, wanted, package, fetcher, until).await?;
    let uploaded = upload_source(&file, state, blobs).await?;
    let found = uploaded.sha256;
    match known(wanted, state).await? {
        Some(known) if known != found => Err(Refusal::Pinned {
            name: wanted.file_name().to_owned(),
            digest: wanted.digest.clone(),
            known,
            found,
        }
        .into()),
        Some(_) | None => Ok(SourceFile {
            path,
            digest: found,
            size: uploaded.size,
        }),
    }
}

/// Downloads on a thread that may block.
async fn download_to(
    file: &Path,
    wanted: &WantedSource,
    package: &PackageName,
    fetcher: &Fetcher,
    until: Instant,
) -> Result<(), Stop> {
    let file = file.to_owned();
    let wanted = wanted.clone();
    let package = package.clone();
    let fetcher = fetcher.clone();
    let work = move || download(&wanted, &package, &fetcher, until, &file);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| FetchError::Stopped)?
}

/// The digest of the file that a source's name stands for, as far as the line knows; whether it has that file is another matter.
async fn known(wanted: &WantedSource, state: &impl StateStore) -> Result<Option<Digest>, Stop> {
    match wanted.algorithm {
        Algorithm::Sha256 => Ok(Digest::from_hex(&wanted.digest).ok()),
        Algorithm::Sha512 | Algorithm::Sha1 => {
            let key = key_of(wanted.algorithm, &wanted.digest);
            let found = get::<KnownSource>(state, Table::Setting, &key).await?;
            Ok(found.map(|(source, _)| source.digest))
        }
    }
}

/// A source that the line has.
async fn kept(
    wanted: &WantedSource,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<Option<KnownSource>, Stop> {
    let Some(digest) = known(wanted, state).await? else {
        return Ok(None);
    };
    let size = blobs.size(&digest).await?;
    Ok(size.map(|size| KnownSource { digest, size }))
}
