//! Sources by digest: what the line holds already, and where else to look.

use crate::digests::{Digests, digests};
use crate::error::{FetchError, Refusal, Stop};
use crate::fetcher::Fetcher;
use millrace_core::sources::{Algorithm, SourceFile, Wanted};
use millrace_core::{Digest, PackageName};
use millrace_store::records::{get, put, replace};
use millrace_store::{BlobStore, Expect, SaveError, StateStore, Table};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// What happened where nothing else did.
const LATE: &str = "the time is over";

/// What the line holds under a digest that is not SHA-256.
#[derive(Debug, Serialize, Deserialize)]
struct Held {
    digest: Digest,
    size: u64,
}

fn held_key(algorithm: Algorithm, digest: &str) -> String {
    format!("lookaside/{}/{digest}", algorithm.as_str())
}

/// A file that was put into the line's own lookaside store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offered {
    /// SHA-256, under which it is kept.
    pub sha256: Digest,
    /// SHA-512 in hexadecimal digits, for a line of `sources`.
    pub sha512: String,
    /// In bytes.
    pub size: u64,
}

/// Puts a file into the line's own lookaside store, where packages that name it by SHA-256, SHA-512 or SHA-1 find it. Twice
/// does no harm; a retry may help.
pub async fn offer_source(
    path: &Path,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<Offered, FetchError> {
    let file = path.to_owned();
    let read = move || digests(&mut File::open(file)?, &mut std::io::sink());
    let Digests {
        sha256,
        sha512,
        sha1,
        ..
    } = tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| FetchError::Stopped)??;
    let (digest, size) = blobs.put_file(path).await?;
    if digest != sha256 {
        return Err(FetchError::Changed(sha256, digest));
    }
    let held = Held { digest, size };
    replace(
        state,
        Table::Setting,
        &held_key(Algorithm::Sha512, &sha512),
        &held,
    )
    .await?;
    if let Some(sha1) = sha1 {
        pin(&held_key(Algorithm::Sha1, &sha1), &held, state).await?;
    }
    Ok(Offered {
        sha256,
        sha512,
        size,
    })
}

/// Keeps what a SHA-1 digest stands for. The first file stays: SHA-1 does not vouch that a later one is the same.
async fn pin(key: &str, held: &Held, state: &impl StateStore) -> Result<(), SaveError> {
    match put(state, Table::Setting, key, Expect::Absent, held, Vec::new()).await {
        Ok(()) | Err(SaveError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads until the time is over.
struct Until<R> {
    from: R,
    until: Instant,
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() >= self.until {
            return Err(std::io::Error::other(LATE));
        }
        self.from.read(into)
    }
}

/// A source that the line holds afterwards: it held it already, or some lookaside store has it.
pub(crate) async fn obtain(
    wanted: &Wanted,
    package: &PackageName,
    fetcher: &Fetcher,
    until: Instant,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<SourceFile, Stop> {
    let path = wanted.path.clone();
    if let Some(Held { digest, size }) = held(wanted, state, blobs).await? {
        return Ok(SourceFile { path, digest, size });
    }
    let folder = fetcher.folder()?;
    let file = folder.path().join("source");
    let work = {
        let (wanted, package, fetcher, file) = (
            wanted.clone(),
            package.clone(),
            fetcher.clone(),
            file.clone(),
        );
        move || look_everywhere(&wanted, &package, &fetcher, until, &file)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| FetchError::Stopped)??;
    let Offered {
        sha256: found,
        size,
        ..
    } = offer_source(&file, state, blobs).await?;
    match named(wanted, state).await? {
        Some(known) if known != found => {
            let (name, digest) = (wanted.file_name().to_owned(), wanted.digest.clone());
            Err(Refusal::Pinned {
                name,
                digest,
                known,
                found,
            }
            .into())
        }
        Some(_) | None => Ok(SourceFile {
            path,
            digest: found,
            size,
        }),
    }
}

/// The file that a source's name stands for, as far as the line knows; whether it holds that file is another matter.
async fn named(wanted: &Wanted, state: &impl StateStore) -> Result<Option<Digest>, Stop> {
    match wanted.algorithm {
        Algorithm::Sha256 => Ok(Digest::from_hex(&wanted.digest).ok()),
        Algorithm::Sha512 | Algorithm::Sha1 => {
            let key = held_key(wanted.algorithm, &wanted.digest);
            Ok(get::<Held>(state, Table::Setting, &key)
                .await?
                .map(|(held, _)| held.digest))
        }
    }
}

async fn held(
    wanted: &Wanted,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<Option<Held>, Stop> {
    let Some(digest) = named(wanted, state).await? else {
        return Ok(None);
    };
    Ok(blobs.size(&digest).await?.map(|size| Held { digest, size }))
}

/// Why one store did not help.
enum Miss {
    NotThere,
    Other(Refusal),
    Trouble(FetchError),
}

/// Looks in one store after the other. Where none has the file, a store that might have it another time counts more than one
/// that has something else, and that more than all that have nothing.
fn look_everywhere(
    wanted: &Wanted,
    package: &PackageName,
    fetcher: &Fetcher,
    until: Instant,
    to: &Path,
) -> Result<(), Stop> {
    let (mut looked, mut other, mut trouble) = (Vec::new(), None, None);
    for template in &fetcher.lookaside {
        let url = template.url(package, wanted);
        match look(&url, wanted, fetcher, until, to) {
            Ok(()) => return Ok(()),
            Err(Miss::NotThere) => looked.push(url),
            Err(Miss::Other(refusal)) => other = other.or(Some(refusal)),
            Err(Miss::Trouble(error)) => trouble = trouble.or(Some(error)),
        }
    }
    if let Some(error) = trouble {
        return Err(error.into());
    }
    let Wanted {
        algorithm, digest, ..
    } = wanted.clone();
    Err(other
        .unwrap_or_else(|| Refusal::NoSource {
            name: wanted.file_name().to_owned(),
            algorithm,
            digest,
            looked,
        })
        .into())
}

fn look(
    url: &str,
    wanted: &Wanted,
    fetcher: &Fetcher,
    until: Instant,
    to: &Path,
) -> Result<(), Miss> {
    let trouble = |problem: String| {
        Miss::Trouble(FetchError::Lookaside {
            url: url.to_owned(),
            problem,
        })
    };
    let bytes_max = fetcher.bounds.source_bytes;
    let from = open(url, &fetcher.agent, until)
        .map_err(trouble)?
        .ok_or(Miss::NotThere)?;
    let mut file = File::create(to).map_err(|error| Miss::Trouble(error.into()))?;
    let mut from = Until {
        from: from.take(bytes_max + 1),
        until,
    };
    let read = digests(&mut from, &mut file).map_err(|error| trouble(error.to_string()))?;
    if read.size > bytes_max {
        return Err(Miss::Other(Refusal::LargeSource {
            url: url.to_owned(),
            bytes_max,
        }));
    }
    let name = wanted.file_name().to_owned();
    let found = match wanted.algorithm {
        Algorithm::Sha512 => read.sha512,
        Algorithm::Sha256 => read.sha256.hex(),
        Algorithm::Sha1 => read.sha1.ok_or_else(|| {
            Miss::Other(Refusal::Collided {
                name: name.clone(),
                url: url.to_owned(),
            })
        })?,
    };
    if found != wanted.digest {
        let (algorithm, expected) = (wanted.algorithm, wanted.digest.clone());
        return Err(Miss::Other(Refusal::WrongDigest {
            name,
            url: url.to_owned(),
            algorithm,
            expected,
            found,
        }));
    }
    Ok(())
}

/// What lies at a URL; none where nothing does. The error is for people.
fn open(url: &str, agent: &ureq::Agent, until: Instant) -> Result<Option<Box<dyn Read>>, String> {
    if let Some(path) = url.strip_prefix("file://") {
        return match File::open(path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        };
    }
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(LATE.to_owned());
    }
    let request = agent.get(url).config().timeout_global(Some(left)).build();
    let response = request.call().map_err(|error| error.to_string())?;
    match response.status().as_u16() {
        200 => Ok(Some(Box::new(response.into_body().into_reader()))),
        // Object stores say 403 where nothing is and nobody may list.
        403 | 404 | 410 => Ok(None),
        other => Err(format!("HTTP status {other}")),
    }
}
