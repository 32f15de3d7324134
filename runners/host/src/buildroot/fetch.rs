//! Files from where somebody says that they lie.

use super::RootError;
use millrace_core::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a server may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(30);

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
    let failed = |problem: String| RootError::Repository(format!("{url}: {problem}"));
    match url.strip_prefix("file://") {
        Some(path) => Ok(Box::new(
            File::open(path).map_err(|error| failed(error.to_string()))?,
        )),
        None => Ok(Box::new(
            agent()
                .get(url)
                .call()
                .map_err(|error| failed(error.to_string()))?
                .into_body()
                .into_reader(),
        )),
    }
}

/// What is wanted, by its digest.
pub(super) struct Wanted<'a> {
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
    wanted: &Wanted<'_>,
    stop: &AtomicBool,
) -> Result<(), RootError> {
    let Wanted {
        what,
        named_by,
        digest,
        bytes_max,
    } = wanted;
    let found = copy_hashed(Unless { from, stop }, *bytes_max, to);
    if stop.load(Ordering::SeqCst) {
        return Err(RootError::Stopped);
    }
    let found = found.map_err(|error| RootError::Repository(format!("{what}: {error}")))?;
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
    let (mut hasher, mut piece, mut left) = (Sha256::new(), vec![0; 1 << 16], bytes_max);
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

/// A file on its way, which breaks off where the task is given up.
struct Unless<'a, R> {
    from: R,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Unless<'_, R> {
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
    fn only_what_was_asked_for_is_kept_and_nothing_of_a_task_that_is_given_up() {
        let digest = Digest::of(b"abc");
        let wanted = Wanted {
            what: "a file",
            named_by: "the lock",
            digest: &digest,
            bytes_max: 3,
        };
        let (go_on, stop) = (AtomicBool::new(false), AtomicBool::new(true));
        let mut kept = Vec::new();
        assert!(keep(&b"abc"[..], &mut kept, &wanted, &go_on).is_ok() && kept == b"abc");
        let other = keep(&b"abd"[..], &mut io::sink(), &wanted, &go_on)
            .unwrap_err()
            .to_string();
        assert!(
            other.starts_with("a file is not what the lock names: it has sha256:"),
            "{other}"
        );
        let long = keep(&b"abcd"[..], &mut io::sink(), &wanted, &go_on)
            .unwrap_err()
            .to_string();
        assert_eq!(long, "a file: it has more than 3 bytes");
        assert!(matches!(
            keep(&b"abc"[..], &mut io::sink(), &wanted, &stop),
            Err(RootError::Stopped)
        ));
    }
}
