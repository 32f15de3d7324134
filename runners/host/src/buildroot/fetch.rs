//! Files by their URLs, and only those that were asked for.

use super::error::RootError;
use millrace_core::Digest;
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Largest list of mirrors or `repomd.xml`, in bytes: real ones have some KB.
pub(super) const TEXT_BYTES_MAX: u64 = 4 << 20;

/// How long a server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// How long it may be silent in the middle of a file.
const SILENCE: Duration = Duration::from_secs(60);

/// Who fetches large files: not bound in time as a whole, but in every silence.
pub(super) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(ANSWER_MAX))
        .timeout_recv_response(Some(SILENCE));
    config
        .timeout_per_read(Some(SILENCE))
        .tls_config(crate::machine::trust::of_this_machine())
        .build()
        .into()
}

/// Begins to read a file by its URL.
pub(super) fn open(url: &str) -> Result<Box<dyn Read>, RootError> {
    if let Some(path) = url.strip_prefix("file://") {
        let file = File::open(path).map_err(|error| RootError::repository_due_to(url, error))?;
        return Ok(Box::new(file));
    }
    let answer = agent()
        .get(url)
        .call()
        .map_err(|error| RootError::repository_due_to(url, error))?;
    Ok(Box::new(answer.into_body().into_reader()))
}

/// Reads a file of at most so many bytes by its URL.
pub(super) fn fetch(url: &str, repository: &str, bytes_max: u64) -> Result<Vec<u8>, RootError> {
    let read = match url.strip_prefix("file://") {
        Some(path) => read_file(path, bytes_max).map_err(Box::from),
        None => get(url, bytes_max).map_err(Box::from),
    };
    read.map_err(|error: Box<dyn Error + Send + Sync>| {
        RootError::repository_due_to(format!("repository {repository}: {url}"), error)
    })
}

fn read_file(path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn get(url: &str, bytes_max: u64) -> Result<Vec<u8>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_MAX))
        .tls_config(crate::machine::trust::of_this_machine())
        .build()
        .into();
    let mut answer = agent.get(url).call()?;
    answer
        .body_mut()
        .with_config()
        .limit(bytes_max)
        .read_to_vec()
}

/// A file that is fetched, by its digest.
pub(super) struct ExpectedFile<'a> {
    /// What it is, in words.
    pub(super) what: &'a str,
    /// Whose word it is that it has this digest: `the lock`.
    pub(super) named_by: &'a str,
    pub(super) digest: &'a Digest,
    pub(super) bytes_max: u64,
}

/// Keeps what somebody sends, if it is what was asked for and the task is not given up meanwhile.
pub(super) fn keep(
    from: impl Read,
    to: &mut impl Write,
    expected: &ExpectedFile<'_>,
    stop: &AtomicBool,
) -> Result<(), RootError> {
    let ExpectedFile {
        what,
        named_by,
        digest,
        bytes_max,
    } = expected;
    let found = copy_hashed(CancellableRead { from, stop }, *bytes_max, to);
    if stop.load(Ordering::SeqCst) {
        return Err(RootError::Stopped);
    }
    let found = found.map_err(|error| RootError::repository_due_to(*what, error))?;
    if found == **digest {
        return Ok(());
    }
    Err(RootError::Refused(format!(
        "{what} is not what {named_by} names: it has {found}, not {digest}"
    )))
}

/// Copies at most so many bytes, and answers their SHA-256.
pub(super) fn copy_hashed(
    mut from: impl Read,
    bytes_max: u64,
    to: &mut impl Write,
) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    let mut left = bytes_max;
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        let too_long = || io::Error::other(format!("it has more than {bytes_max} bytes"));
        left = left.checked_sub(count as u64).ok_or_else(too_long)?;
        hasher.update(&piece[..count]);
        to.write_all(&piece[..count])?;
    }
}

/// A file on its way, which breaks off if the task is given up.
struct CancellableRead<'a, R> {
    from: R,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for CancellableRead<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(io::Error::other("the task was given up"));
        }
        self.from.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_kept() {
        let digest = Digest::of(b"abc");
        let expected = ExpectedFile {
            what: "a file",
            named_by: "the lock",
            digest: &digest,
            bytes_max: 3,
        };
        let go_on = AtomicBool::new(false);
        let stop = AtomicBool::new(true);
        let mut kept = Vec::new();
        assert!(keep(&b"abc"[..], &mut kept, &expected, &go_on).is_ok() && kept == b"abc");
        let other = keep(&b"abd"[..], &mut io::sink(), &expected, &go_on)
            .unwrap_err()
            .to_string();
        assert!(
            other.starts_with("a file is not what the lock names: it has sha256:"),
            "{other}"
        );
        let long = keep(&b"abcd"[..], &mut io::sink(), &expected, &go_on)
            .unwrap_err()
            .to_string();
        assert_eq!(long, "a file: it has more than 3 bytes");
        assert!(matches!(
            keep(&b"abc"[..], &mut io::sink(), &expected, &stop),
            Err(RootError::Stopped)
        ));
    }
}
