//! Sources by digest: what the line holds already, and where else to look.

use crate::Fetcher;
use crate::checkout::{FetchError, Refusal, Stop};
use millrace_core::sources::{Algorithm, SourceFile, Wanted};
use millrace_core::{Digest, PackageName};
use millrace_store::records::{get, put, replace};
use millrace_store::{BlobStore, Expect, SaveError, StateStore, Table};
use serde::{Deserialize, Serialize};
use sha1_checked::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

/// The fields that a template may have.
const FIELDS: [&str; 4] = ["{package}", "{name}", "{algorithm}", "{digest}"];

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// What happened where nothing else did.
const LATE: &str = "the time is over";

/// Where a lookaside store keeps a file, as an `http://`, `https://` or `file:///` URL with fields:
/// `https://src.fedoraproject.org/lookaside/pkgs/rpms/{package}/{name}/{algorithm}/{digest}/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

/// A template that leads nowhere; a person must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{template}` is no lookaside URL: {problem}")]
pub struct TemplateError {
    template: String,
    problem: String,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let wrong = |problem: String| TemplateError {
            template: text.to_owned(),
            problem,
        };
        if !["http://", "https://", "file:///"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            return Err(wrong(
                "begin it with https://, http:// or file:///".to_owned(),
            ));
        }
        let rest = FIELDS
            .iter()
            .fold(text.to_owned(), |rest, field| rest.replace(field, ""));
        if rest.contains(['{', '}']) {
            return Err(wrong(format!(
                "it may have the fields {}",
                FIELDS.join(", ")
            )));
        }
        if !text.contains("{digest}") && !text.contains("{name}") {
            return Err(wrong(
                "it needs {digest} or {name}, or every file would be the same".to_owned(),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

impl Template {
    /// The address of a source of a package.
    pub fn url(&self, package: &PackageName, wanted: &Wanted) -> String {
        // A file's path is taken as it stands; in other URLs a blank, for example, is `%20` (RFC 3986, 2.1).
        let spell = |value: &str| {
            if self.0.starts_with("file:") {
                value.to_owned()
            } else {
                percent_encoded(value)
            }
        };
        let values = [
            package.as_str(),
            wanted.file_name(),
            wanted.algorithm.as_str(),
            &wanted.digest,
        ];
        let mut url = self.0.clone();
        // `{` is spelt `%7B` in a value, and a value comes after the fields of its own name, so no value is taken for a field.
        for (field, value) in FIELDS.iter().zip(values.map(spell)) {
            url = url.replace(field, &value);
        }
        url
    }
}

fn percent_encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte);
    value
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

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

/// What was read of a file.
struct Digests {
    /// In bytes.
    size: u64,
    sha256: Digest,
    /// Hexadecimal digits.
    sha512: String,
    /// Hexadecimal digits; none where the file is one of two that were made to have the same.
    sha1: Option<String>,
}

/// Copies and hashes.
fn digests(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<Digests> {
    let (mut sha256, mut sha512, mut sha1, mut size) =
        (Sha256::new(), Sha512::new(), Sha1::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        sha256.update(&chunk[..count]);
        sha512.update(&chunk[..count]);
        sha1_checked::Digest::update(&mut sha1, &chunk[..count]);
        to.write_all(&chunk[..count])?;
        size += count as u64;
    }
    let sha1 = sha1.try_finalize();
    Ok(Digests {
        size,
        sha256: Digest::from_bytes(sha256.finalize().into()),
        sha512: hexadecimal(&sha512.finalize()),
        sha1: (!sha1.has_collision()).then(|| hexadecimal(sha1.hash())),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn url(template: &str, file: &str) -> String {
        let wanted = Wanted {
            path: file.to_owned(),
            algorithm: Algorithm::Sha256,
            digest: "ab".repeat(32),
        };
        template
            .parse::<Template>()
            .unwrap()
            .url(&"zlib".parse().unwrap(), &wanted)
    }

    #[test]
    fn a_template_becomes_the_address_of_a_file() {
        let digest = "ab".repeat(32);
        let fedora = "https://host/pkgs/rpms/{package}/{name}/{algorithm}/{digest}/{name}";
        assert_eq!(
            url(fedora, "SOURCES/a b{digest}.tar"),
            format!(
                "https://host/pkgs/rpms/zlib/a%20b%7Bdigest%7D.tar/sha256/{digest}/a%20b%7Bdigest%7D.tar"
            )
        );
        assert_eq!(
            url("file:///srv/{name}", "c++ 1.tar"),
            "file:///srv/c++ 1.tar"
        );
    }

    #[test]
    fn a_template_that_leads_nowhere_says_what_it_needs() {
        let problem = |text: &str| text.parse::<Template>().unwrap_err().problem;
        assert_eq!(
            problem("ftp://host/{digest}"),
            "begin it with https://, http:// or file:///"
        );
        assert_eq!(
            problem("https://host/{branch}/{digest}"),
            "it may have the fields {package}, {name}, {algorithm}, {digest}"
        );
        assert_eq!(
            problem("https://host/{package}"),
            "it needs {digest} or {name}, or every file would be the same"
        );
    }
}
