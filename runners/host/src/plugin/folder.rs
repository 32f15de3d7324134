//! A task's folder, opened so that nothing in it leads out: what commands leave there is not to be trusted.

use super::capability::{READ_BYTES_MAX, path_inside};
use crate::machine::removal::remove_folder;
use crate::sandbox::disk;
use crate::sandbox::mounts::again;
use millrace_core::Digest;
use millrace_core::platform::matches;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Most files and folders that one search looks at: a kernel's tree has about 90,000.
const ENTRIES_MAX: usize = 100_000;

/// Deepest folder that a search goes into: the longest path that Linux takes has 2,048 of them, and a stack is finite.
const DEPTH_MAX: usize = 200;

/// What a disk gives out at a time, in bytes, and so the least that anything takes.
const BLOCK_BYTES: u64 = 4096;

/// A path that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It leads out of the folder, or is none.
    #[error("`{0}` leads out of the task's folder")]
    Refused(String),
    #[error("there is no `{0}`")]
    NotFound(String),
    /// Something else is there than was wanted.
    #[error("`{0}` is not a plain file or folder")]
    NotAFile(String),
    /// Too much for one call.
    #[error("`{0}` is too large")]
    TooLarge(String),
    #[error("no space left for `{0}`")]
    Full(String),
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
}

/// A file or folder that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the task's folder.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether somebody may run it.
    pub executable: bool,
}

/// The folder of one task.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: File,
    /// Its bound in bytes, for it and what lies beside it, as for the task's commands.
    bytes_max: u64,
    /// What is in it, in bytes, as it was measured last, and what the host has written since. None if a command may have changed it.
    used: Cell<Option<u64>>,
}

type Result<T> = std::result::Result<T, FolderError>;

impl Folder {
    /// An existing folder that may grow to this size, in bytes.
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            handle: File::open(path)?,
            bytes_max,
            used: Cell::new(None),
        })
    }

    /// Where it lies on the machine.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that somebody else has written to it.
    pub fn changed(&self) {
        self.used.set(None);
    }

    /// Says that as many bytes are about to be written, which must fit.
    pub fn charge(&self, path: &str, bytes: u64) -> Result<()> {
        let bytes = bytes
            .max(1)
            .checked_next_multiple_of(BLOCK_BYTES)
            .unwrap_or(u64::MAX);
        let fits =
            |used: u64| Some(used.saturating_add(bytes)).filter(|sum| *sum <= self.bytes_max);
        // What the account says may be too much: files are written again and removed. So it is measured before anything is refused.
        let measured = || fits(disk::used(self.path.parent().unwrap_or(&self.path)));
        match self.used.get().and_then(fits).or_else(measured) {
            Some(sum) => {
                self.used.set(Some(sum));
                Ok(())
            }
            None => Err(FolderError::Full(path.to_owned())),
        }
    }

    /// Opens something inside, with the kernel watching that no link leads out.
    fn at(&self, path: &str, flags: OFlag) -> Result<File> {
        let inside = path_inside(path).map_err(|_| FolderError::Refused(path.to_owned()))?;
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .mode(if flags.contains(OFlag::O_CREAT) {
                Mode::from_bits_truncate(0o666)
            } else {
                Mode::empty()
            })
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        again(|| openat2(&self.handle, inside, how))
            .map(File::from)
            .map_err(|error| failed(path, error.into()))
    }

    /// Opens a plain file for reading.
    pub fn file(&self, path: &str) -> Result<File> {
        let file = self.at(path, OFlag::O_RDONLY)?;
        let plain = file
            .metadata()
            .map_err(|error| failed(path, error))?
            .is_file();
        if plain {
            Ok(file)
        } else {
            Err(FolderError::NotAFile(path.to_owned()))
        }
    }

    /// A whole file of at most [`READ_BYTES_MAX`].
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path)?
            .take(READ_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(path, error))?;
        if bytes.len() as u64 > READ_BYTES_MAX {
            Err(FolderError::TooLarge(path.to_owned()))
        } else {
            Ok(bytes)
        }
    }

    /// At most `length` bytes from `offset`.
    pub fn read_range(&self, path: &str, offset: u64, length: u32) -> Result<Vec<u8>> {
        let file = self.file(path)?;
        if u64::from(length) > READ_BYTES_MAX {
            return Err(FolderError::TooLarge(path.to_owned()));
        }
        let size = file.metadata().map_err(|error| failed(path, error))?.len();
        let there = size.saturating_sub(offset).min(u64::from(length));
        let mut bytes = vec![0; usize::try_from(there).unwrap_or(0)];
        file.read_exact_at(&mut bytes, offset)
            .map_err(|error| failed(path, error))?;
        Ok(bytes)
    }

    /// Opens a file for writing: a new one, or the one that is there, emptied unless more is added to it.
    pub fn create(&self, path: &str, append: bool) -> Result<File> {
        let end = if append {
            OFlag::O_APPEND
        } else {
            OFlag::O_TRUNC
        };
        let file = self.at(path, OFlag::O_WRONLY | OFlag::O_CREAT | end)?;
        let metadata = file.metadata().map_err(|error| failed(path, error))?;
        if !metadata.is_file() {
            return Err(FolderError::NotAFile(path.to_owned()));
        }
        // The user that runs the commands may change what the host wrote, whatever the host's umask is.
        if metadata.uid() == nix::unistd::geteuid().as_raw() {
            file.set_permissions(fs::Permissions::from_mode(0o666))
                .map_err(|error| failed(path, error))?;
        }
        Ok(file)
    }

    /// Writes a file, or adds to it.
    pub fn write(&self, path: &str, bytes: &[u8], append: bool) -> Result<()> {
        self.charge(path, bytes.len() as u64)?;
        self.create(path, append)?
            .write_all(bytes)
            .map_err(|error| failed(path, error))
    }

    /// Makes a folder and those above it.
    pub fn make_folder(&self, path: &str) -> Result<()> {
        let inside = path_inside(path).map_err(|_| FolderError::Refused(path.to_owned()))?;
        let ends = inside
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([inside.len()]);
        for end in ends {
            self.make_one(&inside[..end])?;
        }
        Ok(())
    }

    fn make_one(&self, path: &str) -> Result<()> {
        match self.at(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY) {
            Err(FolderError::NotFound(_)) => {}
            other => return other.map(drop),
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let above = self.folder(above)?;
        self.charge(path, 0)?;
        nix::sys::stat::mkdirat(&above, name, Mode::from_bits_truncate(0o777))
            .map_err(|error| failed(path, error.into()))?;
        let made = self.at(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        made.set_permissions(fs::Permissions::from_mode(0o777))
            .map_err(|error| failed(path, error))
    }

    /// A handle on a folder; the task's own if the path is empty.
    fn folder(&self, path: &str) -> Result<File> {
        if path.is_empty() {
            return self.handle.try_clone().map_err(|error| failed(path, error));
        }
        self.at(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY)
    }

    /// Removes a file, or a folder with all that is in it. A link is removed, not what it points at.
    pub fn remove(&self, path: &str) -> Result<()> {
        let inside = path_inside(path).map_err(|_| FolderError::Refused(path.to_owned()))?;
        let (above, name) = inside.rsplit_once('/').unwrap_or(("", inside));
        let above = match self.folder(above) {
            Err(FolderError::NotFound(_)) => return Ok(()),
            other => other?,
        };
        // Through the handle, so that no link above can have been put in the way.
        let target = handle_path(&above).join(name);
        let removed = match fs::symlink_metadata(&target) {
            Err(error) => Err(error),
            Ok(metadata) if metadata.is_dir() => remove_folder(&target),
            Ok(_) => fs::remove_file(&target),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|error| failed(path, error)),
        }
    }

    /// What lies below a folder and matches a pattern, sorted.
    pub fn find(&self, folder: &str, pattern: &str) -> Result<Vec<Entry>> {
        let start = path_inside(folder).map_err(|_| FolderError::Refused(folder.to_owned()))?;
        let mut search = Search {
            pattern,
            below: start.len() + 1,
            looked_at: 0,
            found: Vec::new(),
        };
        self.search(start, 0, &mut search)?;
        search.found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(search.found)
    }

    fn search(&self, folder: &str, depth: usize, search: &mut Search<'_>) -> Result<()> {
        let handle = self.at(folder, OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        let entries = fs::read_dir(handle_path(&handle)).map_err(|error| failed(folder, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(folder, error))?;
            search.looked_at += 1;
            if search.looked_at > ENTRIES_MAX || depth > DEPTH_MAX {
                return Err(FolderError::TooLarge(folder.to_owned()));
            }
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = format!("{folder}/{name}");
            let metadata = entry.metadata().map_err(|error| failed(&path, error))?;
            if metadata.is_symlink() || path_inside(&path).is_err() {
                continue;
            }
            search.consider(&path, &metadata);
            if metadata.is_dir() {
                self.search(&path, depth + 1, search)?;
            }
        }
        Ok(())
    }

    /// Digest and size of a file in bytes.
    pub fn hash(&self, path: &str) -> Result<(Digest, u64)> {
        let mut file = self.file(path)?;
        let mut hasher = Sha256::new();
        let mut piece = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            let count = file.read(&mut piece).map_err(|error| failed(path, error))?;
            if count == 0 {
                return Ok((Digest::from_bytes(hasher.finalize().into()), size));
            }
            hasher.update(&piece[..count]);
            size += count as u64;
        }
    }

    /// Unpacks a plain tar archive into a folder, which is made. Plain files, folders and links that stay inside; whatever else
    /// an archive may hold has no place in a commit.
    pub fn unpack(&self, archive: &str, folder: &str) -> Result<()> {
        let mut tar = tar::Archive::new(self.file(archive)?);
        self.make_folder(folder)?;
        for entry in tar.entries().map_err(|error| failed(archive, error))? {
            let mut entry = entry.map_err(|error| failed(archive, error))?;
            self.unpack_one(&mut entry, folder)?;
        }
        Ok(())
    }

    fn unpack_one<R: Read>(&self, entry: &mut tar::Entry<'_, R>, folder: &str) -> Result<()> {
        let name = entry
            .path()
            .map_err(|error| failed(folder, error))?
            .to_string_lossy()
            .into_owned();
        let path = format!("{folder}/{}", name.trim_end_matches('/'));
        if let Some((above, _)) = path.rsplit_once('/') {
            self.make_folder(above)?;
        }
        let header = entry.header().clone();
        match header.entry_type() {
            tar::EntryType::Directory => self.make_folder(&path),
            tar::EntryType::Regular => {
                self.remove(&path)?;
                self.charge(&path, entry.size())?;
                let mut file = self.create(&path, false)?;
                io::copy(entry, &mut file).map_err(|error| failed(&path, error))?;
                let executable = header.mode().is_ok_and(|mode| mode & 0o100 != 0);
                let mode = if executable { 0o777 } else { 0o666 };
                let time = UNIX_EPOCH + Duration::from_secs(header.mtime().unwrap_or(0));
                file.set_permissions(fs::Permissions::from_mode(mode))
                    .and_then(|()| file.set_modified(time))
                    .map_err(|error| failed(&path, error))
            }
            tar::EntryType::Symlink => {
                let target = entry
                    .link_name()
                    .map_err(|error| failed(&path, error))?
                    .unwrap_or_default()
                    .into_owned();
                let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
                let above = self.folder(above)?;
                self.charge(&path, 0)?;
                // Where it points is no matter: a process that opens it here is watched by the kernel.
                nix::unistd::symlinkat(&target, &above, name)
                    .map_err(|error| failed(&path, error.into()))
            }
            // Extended headers hold the archive's comment (git writes the commit there).
            tar::EntryType::XGlobalHeader => Ok(()),
            _ => Err(FolderError::NotAFile(path)),
        }
    }
}

struct Search<'a> {
    pattern: &'a str,
    /// Where the path from the folder on begins.
    below: usize,
    looked_at: usize,
    found: Vec<Entry>,
}

impl Search<'_> {
    fn consider(&mut self, path: &str, metadata: &fs::Metadata) {
        let wanted = metadata.is_dir() || metadata.is_file();
        if wanted
            && path
                .get(self.below..)
                .is_some_and(|rest| matches(self.pattern, rest))
        {
            let size = if metadata.is_dir() { 0 } else { metadata.len() };
            let executable = metadata.is_file() && metadata.mode() & 0o111 != 0;
            self.found.push(Entry {
                path: path.to_owned(),
                size,
                is_folder: metadata.is_dir(),
                executable,
            });
        }
    }
}

/// A path that leads to an open folder and to no other, whatever has been moved since.
fn handle_path(handle: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

fn failed(path: &str, source: io::Error) -> FolderError {
    let path = path.to_owned();
    match source.raw_os_error() {
        // A link that leads out, and one that the kernel will not follow.
        Some(libc::EXDEV | libc::ELOOP) => FolderError::Refused(path),
        Some(libc::ENOENT) => FolderError::NotFound(path),
        Some(libc::ENOTDIR | libc::EISDIR | libc::ENXIO | libc::EEXIST) => {
            FolderError::NotAFile(path)
        }
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => FolderError::Full(path),
        Some(libc::ENAMETOOLONG) => FolderError::Refused(path),
        _ => FolderError::Io { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("work")).unwrap();
        fs::write(temporary.path().join("secret"), "secret").unwrap();
        let folder = Folder::open(&temporary.path().join("work"), 1 << 20).unwrap();
        (temporary, folder)
    }

    fn link(folder: &Folder, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    }

    #[test]
    fn links_that_lead_out_are_refused_whatever_is_done_through_them() {
        let (temporary, folder) = folder();
        link(&folder, "file", "../secret");
        link(&folder, "up", "..");
        link(&folder, "root", "/");
        for path in ["file", "up/secret", "root/etc/passwd"] {
            assert!(
                matches!(folder.read(path), Err(FolderError::Refused(_))),
                "{path}"
            );
            assert!(
                matches!(
                    folder.write(path, b"x", false),
                    Err(FolderError::Refused(_))
                ),
                "{path}"
            );
        }
        assert!(matches!(
            folder.make_folder("up/new"),
            Err(FolderError::Refused(_))
        ));
        assert!(matches!(
            folder.remove("up/secret"),
            Err(FolderError::Refused(_))
        ));
        assert!(matches!(
            folder.find("up", "*"),
            Err(FolderError::Refused(_))
        ));
        folder.remove("file").unwrap();
        folder.remove("up").unwrap();
        assert_eq!(
            fs::read_to_string(temporary.path().join("secret")).unwrap(),
            "secret"
        );
    }

    #[test]
    fn links_inside_are_followed_and_not_found() {
        let (_temporary, folder) = folder();
        folder.write("a", b"1", false).unwrap();
        folder.make_folder("d").unwrap();
        link(&folder, "d/b", "../a");
        assert_eq!(folder.read("d/b").unwrap(), b"1");
        assert_eq!(folder.find("d", "*").unwrap(), []);
    }

    #[test]
    fn devices_and_pipes_are_no_files_and_nobody_waits_for_them() {
        let (_temporary, folder) = folder();
        nix::unistd::mkfifo(&folder.path().join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        assert!(matches!(folder.read("pipe"), Err(FolderError::NotAFile(_))));
        assert!(matches!(
            folder.write("pipe", b"x", false),
            Err(FolderError::NotAFile(_))
        ));
    }

    #[test]
    fn an_archive_is_unpacked_and_stays_inside() {
        let (temporary, folder) = folder();
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, mode: u32, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(mode);
            // The crate refuses to write a name like `../x`; an attacker would not.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, text.as_bytes()).unwrap();
        };
        add("x.spec", 0o644, "Name: x");
        add("tests/run", 0o755, "#!/bin/sh");
        add("../escaped", 0o644, "no");
        let bytes = tar.into_inner().unwrap();
        folder.write("tree.tar", &bytes, false).unwrap();
        assert!(matches!(
            folder.unpack("tree.tar", "tree"),
            Err(FolderError::Refused(_))
        ));
        let found: Vec<(String, bool)> = folder
            .find("tree", "*")
            .unwrap()
            .into_iter()
            .map(|entry| (entry.path, entry.executable))
            .collect();
        let expected = [
            ("tree/tests", false),
            ("tree/tests/run", true),
            ("tree/x.spec", false),
        ];
        assert_eq!(
            found,
            expected.map(|(path, executable)| (path.to_owned(), executable))
        );
        assert!(!temporary.path().join("escaped").exists());
    }

    #[test]
    fn a_link_in_an_archive_does_not_carry_later_members_out() {
        let (temporary, folder) = folder();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "out", "../..").unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        tar.append_data(&mut header, "out/escaped", &b"no"[..])
            .unwrap();
        folder
            .write("tree.tar", &tar.into_inner().unwrap(), false)
            .unwrap();
        assert!(matches!(
            folder.unpack("tree.tar", "tree"),
            Err(FolderError::Refused(_))
        ));
        assert!(!temporary.path().join("escaped").exists());
    }

    #[test]
    fn a_range_ends_where_the_file_does() {
        let (_temporary, folder) = folder();
        folder.write("a", b"0123456789", false).unwrap();
        assert_eq!(folder.read_range("a", 8, 100).unwrap(), b"89");
        assert_eq!(folder.read_range("a", 100, 100).unwrap(), b"");
    }

    #[test]
    fn what_the_host_writes_counts_until_the_folder_is_full() {
        let (_temporary, folder) = folder();
        let full = (0..)
            .find(|_| folder.write("file", &[1; 65_536], true).is_err())
            .unwrap();
        assert!(
            (10..16).contains(&full),
            "{full} pieces of 64 KiB went into 1 MiB"
        );
        assert!(
            matches!(folder.write("another", b"x", false), Ok(())),
            "there is room for a block"
        );
        assert!(
            matches!(folder.write("file", &[1; 65_536], true), Err(FolderError::Full(path)) if path == "file")
        );
        folder.remove("file").unwrap();
        folder.write("file", &[1; 524_288], false).unwrap();
        for _ in 0..5 {
            folder.write("file", &[1; 524_288], false).unwrap_err();
            folder.remove("file").unwrap();
            folder.write("file", &[1; 524_288], false).unwrap();
        }
    }

    #[test]
    fn what_commands_write_counts_for_the_host() {
        let (_temporary, folder) = folder();
        folder.write("file", &[1; 65_536], false).unwrap();
        fs::write(folder.path().join("big"), vec![1; 1 << 20]).unwrap();
        folder.changed();
        assert!(matches!(
            folder.write("file", b"x", true),
            Err(FolderError::Full(_))
        ));
    }

    #[test]
    fn an_archive_of_more_than_the_bound_is_not_unpacked() {
        let (_temporary, folder) = folder();
        let mut tar = tar::Builder::new(Vec::new());
        for number in 0..300 {
            let mut header = tar::Header::new_gnu();
            header.set_size(10);
            tar.append_data(&mut header, format!("small-{number}"), &[1; 10][..])
                .unwrap();
        }
        fs::write(folder.path().join("small.tar"), tar.into_inner().unwrap()).unwrap();
        assert!(matches!(
            folder.unpack("small.tar", "small"),
            Err(FolderError::Full(_))
        ));
        folder.remove("small").unwrap();
        folder.remove("small.tar").unwrap();
        // Of a file that is larger than its archive not a byte is written.
        let mut header = tar::Header::new_gnu();
        header.set_path("large").unwrap();
        header.set_size(1 << 40);
        header.set_cksum();
        folder.write("large.tar", header.as_bytes(), false).unwrap();
        assert!(matches!(
            folder.unpack("large.tar", "large"),
            Err(FolderError::Full(_))
        ));
        assert_eq!(folder.find("large", "*").unwrap(), []);
    }
}
