//! Blobs as files named by their digest, and pointers in the database.

use super::{LocalStore, OpenError, blocking};
use crate::blob::{BlobError, BlobStore, Part, PointerVersion, SwapError, check_pointer};
use millrace_core::Digest;
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::NamedTempFile;

/// Bytes moved at a time: large enough that the disk is the limit, small enough for many at once.
const PIECE_BYTES: usize = 1 << 20;

/// How long nobody has written to an unfinished blob before it is taken for one whose writer died. Another process may be
/// writing blobs into the same folder, and none of its writes takes nearly as long.
const STALE: Duration = Duration::from_secs(3600);

const POINTER: &str = "SELECT version, body FROM pointer WHERE name = ?1";
const POINTER_VERSION: &str = "SELECT version FROM pointer WHERE name = ?1";
const SWAP: &str = "INSERT INTO pointer VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body";

/// Makes the folders.
pub(super) fn prepare(folder: &Path) -> Result<(), OpenError> {
    let trouble = |path: &Path, source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(|source| trouble(folder, source))?;
    for path in [folder.join("blobs"), folder.join("blobs/new")] {
        make_durable(&path).map_err(|source| trouble(&path, source))?;
    }
    Ok(())
}

/// Removes what a process was writing when it died. What stays behind costs space and nothing else, so trouble is no reason
/// to refuse the folder.
pub(super) fn sweep(folder: &Path) {
    for unfinished in fs::read_dir(folder.join("blobs/new"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let written = unfinished
            .metadata()
            .and_then(|metadata| metadata.modified());
        if written.is_ok_and(|at| at.elapsed().is_ok_and(|silent| silent > STALE)) {
            let _ = fs::remove_file(unfinished.path());
        }
    }
}

fn place(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    folder.join("blobs").join(&hex[..2]).join(&hex[2..])
}

/// A blob that is being written, and the digest of what was written so far.
struct Growing {
    file: NamedTempFile,
    hash: Sha256,
    size: u64,
}

impl Growing {
    fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            file: NamedTempFile::new_in(folder.join("blobs/new"))?,
            hash: Sha256::new(),
            size: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, from: impl Read) -> io::Result<()> {
        pieces(from, |piece| self.write(piece))
    }

    /// Puts it in its place, on the disk for good: first its bytes, then its name.
    fn keep(self, folder: &Path) -> io::Result<(Digest, u64)> {
        let digest = Digest::from_bytes(self.hash.finalize().into());
        let place = place(folder, &digest);
        let parent = place.parent().unwrap_or(folder);
        make_durable(parent)?;
        // A file of another length under this name is damaged; the one at hand is not.
        if fs::metadata(&place).map_or(true, |there| there.len() != self.size) {
            self.file.as_file().sync_all()?;
            self.file.persist(&place)?;
        }
        // Also if it was there already: the one that put it there may not have come this far.
        File::open(parent)?.sync_all()?;
        Ok((digest, self.size))
    }
}

/// Reads to the end, a piece at a time.
fn pieces(mut from: impl Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => each(&piece[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes a folder, with its name on the disk for good.
fn make_durable(folder: &Path) -> io::Result<()> {
    match (fs::create_dir(folder), folder.parent()) {
        (Ok(()), Some(parent)) => File::open(parent)?.sync_all(),
        (Err(error), _) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        (Ok(()) | Err(_), _) => Ok(()),
    }
}

fn open(folder: &Path, digest: &Digest) -> Result<(File, u64), BlobError> {
    match File::open(place(folder, digest)) {
        Ok(file) => {
            let size = file.metadata()?.len();
            Ok((file, size))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(BlobError::Missing(*digest)),
        Err(error) => Err(error.into()),
    }
}

fn open_range(folder: &Path, digest: &Digest, range: &Range<u64>) -> Result<File, BlobError> {
    let (file, size) = open(folder, digest)?;
    if range.start > range.end || range.end > size {
        return Err(BlobError::OutOfRange {
            digest: *digest,
            range: range.clone(),
            size,
        });
    }
    Ok(file)
}

fn compose(folder: &Path, parts: &[Part]) -> Result<(Digest, u64), BlobError> {
    let mut growing = Growing::new(folder)?;
    for part in parts {
        match part {
            Part::Bytes(bytes) => growing.write(bytes)?,
            Part::Blob { digest, range } => {
                let mut file = open_range(folder, digest, range)?;
                file.seek(SeekFrom::Start(range.start))?;
                growing.copy(file.take(range.end - range.start))?;
            }
        }
    }
    Ok(growing.keep(folder)?)
}

fn read(folder: &Path, digest: &Digest, range: &Range<u64>) -> Result<Vec<u8>, BlobError> {
    let file = open_range(folder, digest, range)?;
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}

fn fetch(folder: &Path, digest: &Digest, to: &Path) -> Result<(), BlobError> {
    let (from, _) = open(folder, digest)?;
    let file = File::create_new(to)?;
    let fetched = copy_checked(from, file, digest);
    if fetched.is_err() {
        let _ = fs::remove_file(to);
    }
    fetched
}

fn copy_checked(from: File, mut to: File, digest: &Digest) -> Result<(), BlobError> {
    let mut hash = Sha256::new();
    pieces(from, |piece| {
        hash.update(piece);
        to.write_all(piece)
    })?;
    let found = Digest::from_bytes(hash.finalize().into());
    if found == *digest {
        Ok(())
    } else {
        Err(BlobError::Damaged {
            expected: *digest,
            found,
        })
    }
}

impl LocalStore {
    async fn in_folder<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        what: impl FnOnce(&Path) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let folder = self.folder.clone();
        blocking(move || what(&folder)).await?
    }
}

fn database_error(error: rusqlite::Error) -> BlobError {
    BlobError::Io(io::Error::other(error))
}

impl BlobStore for LocalStore {
    async fn put(&self, bytes: Vec<u8>) -> Result<Digest, BlobError> {
        self.in_folder(move |folder| {
            let mut growing = Growing::new(folder)?;
            growing.write(&bytes)?;
            Ok(growing.keep(folder)?.0)
        })
        .await
    }

    async fn put_file(&self, path: &Path) -> Result<(Digest, u64), BlobError> {
        let path = path.to_owned();
        self.in_folder(move |folder| {
            let mut growing = Growing::new(folder)?;
            growing.copy(File::open(path)?)?;
            Ok(growing.keep(folder)?)
        })
        .await
    }

    async fn compose(&self, parts: &[Part]) -> Result<(Digest, u64), BlobError> {
        let parts = parts.to_vec();
        self.in_folder(move |folder| compose(folder, &parts)).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let digest = *digest;
        self.in_folder(move |folder| match open(folder, &digest) {
            Ok((_, size)) => Ok(Some(size)),
            Err(BlobError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let digest = *digest;
        self.in_folder(move |folder| read(folder, &digest, &range))
            .await
    }

    async fn fetch(&self, digest: &Digest, to: &Path) -> Result<(), BlobError> {
        let (digest, to) = (*digest, to.to_owned());
        self.in_folder(move |folder| fetch(folder, &digest, &to))
            .await
    }

    async fn pointer(&self, name: &str) -> Result<Option<(Vec<u8>, PointerVersion)>, BlobError> {
        let (store, name) = (self.clone(), name.to_owned());
        let read = move || {
            let database = store.database();
            let found = database
                .prepare_cached(POINTER)?
                .query_row([name], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
            found.optional()
        };
        let found = blocking(read).await?.map_err(database_error)?;
        Ok(found.map(|(version, bytes)| (bytes, PointerVersion(version.to_string()))))
    }

    async fn swap(
        &self,
        name: &str,
        expected: Option<&PointerVersion>,
        bytes: Vec<u8>,
    ) -> Result<PointerVersion, SwapError> {
        check_pointer(name, &bytes)?;
        let (store, name, expected) = (self.clone(), name.to_owned(), expected.cloned());
        let swapped = blocking(move || swap(&store, &name, expected.as_ref(), &bytes)).await;
        swapped.map_err(BlobError::Io)?
    }
}

fn swap(
    store: &LocalStore,
    name: &str,
    expected: Option<&PointerVersion>,
    bytes: &[u8],
) -> Result<PointerVersion, SwapError> {
    let trouble = |error| SwapError::Blob(database_error(error));
    let mut database = store.database();
    let transaction = database
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(trouble)?;
    let version = transaction
        .query_row(POINTER_VERSION, [name], |row| row.get::<_, i64>(0))
        .optional()
        .map_err(trouble)?;
    if version.map(|version| version.to_string()) != expected.map(|version| version.0.clone()) {
        return Err(SwapError::Conflict(name.to_owned()));
    }
    let next = version.unwrap_or(0) + 1;
    transaction
        .execute(SWAP, params![name, next, bytes])
        .map_err(trouble)?;
    transaction.commit().map_err(trouble)?;
    Ok(PointerVersion(next.to_string()))
}
