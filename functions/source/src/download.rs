//! Looks for a source in one lookaside store after the other, and checks that it is the one that was meant.

use crate::digests::{Digests, digests};
use crate::error::{DownloadError, FetchError, Refusal, Stop};
use crate::fetcher::Fetcher;
use millrace_core::PackageName;
use millrace_core::sources::{Algorithm, WantedSource};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// Why one store did not help.
enum Miss {
    Absent,
    OtherFile(Refusal),
    Failed(FetchError),
}

/// Downloads a source from the first store that has it. If none has, a store that might have it another time counts more than one
/// that has something else, and that more than all that have nothing.
pub(crate) fn download(
    wanted: &WantedSource,
    package: &PackageName,
    fetcher: &Fetcher,
    until: Instant,
    to: &Path,
) -> Result<(), Stop> {
    let mut looked = Vec::new();
    let mut other_file = None;
    let mut failed = None;
    for template in &fetcher.lookaside {
        let url = template.url(package, wanted);
        match download_from(&url, wanted, fetcher, until, to) {
            Ok(()) => return Ok(()),
            Err(Miss::Absent) => looked.push(url),
            Err(Miss::OtherFile(refusal)) => other_file = other_file.or(Some(refusal)),
            Err(Miss::Failed(error)) => failed = failed.or(Some(error)),
        }
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let nowhere = || Refusal::NoSource {
        name: wanted.file_name().to_owned(),
        algorithm: wanted.algorithm,
        digest: wanted.digest.clone(),
        looked,
    };
    Err(other_file.unwrap_or_else(nowhere).into())
}

fn download_from(
    url: &str,
    wanted: &WantedSource,
    fetcher: &Fetcher,
    until: Instant,
    to: &Path,
) -> Result<(), Miss> {
    let failed = |source: DownloadError| {
        Miss::Failed(FetchError::Lookaside {
            url: url.to_owned(),
            source,
        })
    };
    let bytes_max = fetcher.bounds.source_bytes;
    let from = open(url, &fetcher.agent, until)
        .map_err(failed)?
        .ok_or(Miss::Absent)?;
    let mut from = ReadUntil {
        from: from.take(bytes_max + 1),
        until,
    };
    let mut file = File::create(to).map_err(|error| Miss::Failed(error.into()))?;
    let read = digests(&mut from, &mut file).map_err(|error| failed(error.into()))?;
    if read.size > bytes_max {
        return Err(Miss::OtherFile(Refusal::LargeSource {
            url: url.to_owned(),
            bytes_max,
        }));
    }
    check(url, wanted, read).map_err(Miss::OtherFile)
}

/// Whether this is the file that the package names.
fn check(url: &str, wanted: &WantedSource, read: Digests) -> Result<(), Refusal> {
    let found = match wanted.algorithm {
        Algorithm::Sha512 => read.sha512,
        Algorithm::Sha256 => read.sha256.hex(),
        Algorithm::Sha1 => read.sha1.ok_or_else(|| Refusal::Collided {
            name: wanted.file_name().to_owned(),
            url: url.to_owned(),
        })?,
    };
    if found == wanted.digest {
        return Ok(());
    }
    Err(Refusal::WrongDigest {
        name: wanted.file_name().to_owned(),
        url: url.to_owned(),
        algorithm: wanted.algorithm,
        expected: wanted.digest.clone(),
        found,
    })
}

/// What lies at a URL; none if nothing does.
pub(crate) fn open(
    url: &str,
    agent: &ureq::Agent,
    until: Instant,
) -> Result<Option<Box<dyn Read>>, DownloadError> {
    if let Some(path) = url.strip_prefix("file://") {
        return match File::open(path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(DownloadError::TimeOver);
    }
    let request = agent.get(url).config().timeout_global(Some(left)).build();
    let response = request.call()?;
    match response.status().as_u16() {
        200 => Ok(Some(Box::new(response.into_body().into_reader()))),
        // Object stores say 403 if nothing is there and nobody may list.
        403 | 404 | 410 => Ok(None),
        other => Err(DownloadError::Status(other)),
    }
}

/// Reads until the time is over.
pub(crate) struct ReadUntil<R> {
    pub from: R,
    pub until: Instant,
}

impl<R: Read> Read for ReadUntil<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() >= self.until {
            return Err(std::io::Error::other(DownloadError::TimeOver));
        }
        self.from.read(into)
    }
}
