//! The port for bytes: kept under their digest, never changed; and pointers, swapped under a condition.

use futures_util::Stream;
use millrace_core::header::{FIRST_READ_BYTES, HeaderError, read_head};
use millrace_core::{Digest, DigestError};
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Largest pointer, in bytes: it is read with every request to a repository and written with every release.
pub const POINTER_BYTES_MAX: usize = 64 * 1024;

/// A piece of a blob that is put together from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A range of a blob, copied where it lies.
    Blob {
        digest: Digest,
        /// From and to, in bytes.
        range: Range<u64>,
    },
}

/// Number of a pointer's state; another one after every swap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointerVersion(pub String);

/// Where a blob may be read or written for a while. Who knows it may do that: it is as secret as the blob.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// With the signature in it.
    pub url: String,
    /// Headers that the request must have as they are.
    pub headers: Vec<(String, String)>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("Address")
            .field("url", &format_args!("{place}?…"))
            .finish_non_exhaustive()
    }
}

/// The value of `Content-Disposition` that makes something a download of this name, whatever is in it (RFC 6266, 4.1; RFC 8187,
/// 3.2).
pub fn as_download(name: &str) -> String {
    let mut said = "attachment; filename*=UTF-8''".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                said.push(char::from(byte))
            }
            other => said.push_str(&format!("%{other:02X}")),
        }
    }
    said
}

/// The store did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob; a retry does not help.
    #[error("no blob {0}")]
    Missing(Digest),
    /// A range beyond the end.
    #[error("bytes {} to {} of {digest}, which has {size}", range.start, range.end)]
    OutOfRange {
        digest: Digest,
        /// What was asked for.
        range: Range<u64>,
        size: u64,
    },
    /// What lies under a digest has another one: the medium is damaged.
    #[error("the blob {expected} is damaged: its digest is {found}")]
    Damaged {
        /// Under which digest it lies.
        expected: Digest,
        found: Digest,
    },
    /// A text that should be a digest is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Disk full, network gone: a retry may help.
    #[error("the blob store does not answer: {0}")]
    Io(#[from] std::io::Error),
}

/// A pointer that was not swapped.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// Somebody else swapped first: read again, decide again.
    #[error("the pointer `{0}` was changed by somebody else")]
    Conflict(String),
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Keeps bytes. Reading what was written is strongly consistent.
pub trait BlobStore: Clone + Send + Sync + 'static {
    /// Keeps these bytes. Twice the same does no harm. Durable when it returns.
    fn put(&self, bytes: Vec<u8>) -> impl Future<Output = Result<Digest, BlobError>> + Send;

    /// Keeps a file's bytes; the file stays as it is. Answers digest and size.
    fn put_file(
        &self,
        path: &Path,
    ) -> impl Future<Output = Result<(Digest, u64), BlobError>> + Send;

    /// Puts a blob together from others without their bytes passing through the caller. Answers digest and size.
    fn compose(
        &self,
        parts: &[Part],
    ) -> impl Future<Output = Result<(Digest, u64), BlobError>> + Send;

    /// Size in bytes; none if there is no such blob.
    fn size(&self, digest: &Digest) -> impl Future<Output = Result<Option<u64>, BlobError>> + Send;

    /// Reads a range; the whole of it or an error.
    fn read(
        &self,
        digest: &Digest,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Vec<u8>, BlobError>> + Send;

    /// Writes a blob into a file that is not there yet, and checks its digest on the way.
    fn fetch(
        &self,
        digest: &Digest,
        to: &Path,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// Where anyone who knows the address may read a blob with GET for so long, without asking this program; none if a store has
    /// no such addresses. Whether there is such a blob is not looked at. With a name, what is read there is a download of that name.
    fn read_address(
        &self,
        _digest: &Digest,
        _valid: Duration,
        _name: Option<&str>,
    ) -> impl Future<Output = Result<Option<Address>, BlobError>> + Send {
        async { Ok(None) }
    }

    /// Where anyone who knows the address may put exactly this blob with PUT for so long: other bytes, and more or fewer of them, are
    /// refused there. None if a store has no such addresses.
    fn write_address(
        &self,
        _digest: &Digest,
        _size: u64,
        _valid: Duration,
    ) -> impl Future<Output = Result<Option<Address>, BlobError>> + Send {
        async { Ok(None) }
    }

    /// Reads a pointer.
    fn pointer(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<(Vec<u8>, PointerVersion)>, BlobError>> + Send;

    /// Replaces a pointer that is still as it was read; `None` if there was none. Durable when it returns. At most
    /// [`POINTER_BYTES_MAX`].
    fn swap(
        &self,
        name: &str,
        expected: Option<&PointerVersion>,
        bytes: Vec<u8>,
    ) -> impl Future<Output = Result<PointerVersion, SwapError>> + Send;

    /// Reads a whole blob of at most `bytes_max`; a larger one is an error of range.
    fn read_all(
        &self,
        digest: &Digest,
        bytes_max: u64,
    ) -> impl Future<Output = Result<Vec<u8>, BlobError>> + Send {
        async move {
            let size = self
                .size(digest)
                .await?
                .ok_or(BlobError::Missing(*digest))?;
            if size > bytes_max {
                return Err(BlobError::OutOfRange {
                    digest: *digest,
                    range: 0..size,
                    size: bytes_max,
                });
            }
            self.read(digest, 0..size).await
        }
    }
}

/// As many of a package's first bytes as its headers take, and perhaps more; if they are no sound head, the reader must say so. `size` is
/// the blob's, in bytes.
pub async fn package_head(
    blobs: &impl BlobStore,
    digest: &Digest,
    size: u64,
) -> Result<Vec<u8>, BlobError> {
    let mut bytes = blobs.read(digest, 0..size.min(FIRST_READ_BYTES)).await?;
    loop {
        match read_head(&bytes) {
            Err(HeaderError::More { bytes: needed }) if needed <= size => {
                bytes.extend(blobs.read(digest, bytes.len() as u64..needed).await?);
            }
            Ok(_) | Err(_) => return Ok(bytes),
        }
    }
}

/// Bytes read from a store at a time on the way to somebody else: few round trips, little memory for many at once.
const PIECE_BYTES: u64 = 1 << 20;

/// A range of a blob, read piece by piece as it is taken.
pub fn pieces<B: BlobStore>(
    blobs: B,
    digest: Digest,
    range: Range<u64>,
) -> impl Stream<Item = Result<Vec<u8>, BlobError>> + Send {
    futures_util::stream::try_unfold(range.start, move |from| {
        let (blobs, end) = (blobs.clone(), range.end);
        async move {
            if from >= end {
                return Ok(None);
            }
            let to = from.saturating_add(PIECE_BYTES).min(end);
            Ok(Some((blobs.read(&digest, from..to).await?, to)))
        }
    })
}

/// Refuses a pointer that is larger than every store takes.
pub(crate) fn check_pointer(name: &str, bytes: &[u8]) -> Result<(), SwapError> {
    if bytes.len() <= POINTER_BYTES_MAX {
        return Ok(());
    }
    let problem = format!(
        "the pointer `{name}` would have {} bytes, at most {POINTER_BYTES_MAX} fit",
        bytes.len()
    );
    Err(BlobError::Io(std::io::Error::new(
        std::io::ErrorKind::InvalidInput,
        problem,
    ))
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_has_its_name_whatever_is_in_it() {
        assert_eq!(
            as_download("gcc-c++-14.rpm"),
            "attachment; filename*=UTF-8''gcc-c%2B%2B-14.rpm"
        );
        assert_eq!(
            as_download("a\"\r\nb.rpm"),
            "attachment; filename*=UTF-8''a%22%0D%0Ab.rpm"
        );
    }
}
