//! Places in a root and mounts on them, by handles: what packages put into a root never decides where on the machine something happens.
//!
//! A root is foreign: `/builddir` in it may be a link to `/etc`. Before the sandbox has left the machine's own root such a link would lead
//! into it. So each place is looked up by the kernel as if the root were the root of everything (openat2(2), `RESOLVE_IN_ROOT`). What is
//! made, given away or mounted there goes by the handle that came of it.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

type Result<T> = std::result::Result<T, Errno>;

/// A handle that only names a place.
const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// Times that a path is looked up while things are moved on this machine. The kernel gives up then, wherever that was, if the path
/// has a `..` that must not lead out (openat2(2), EAGAIN); a lookup takes microseconds, and moves that fast do not go on for long.
const LOOKUPS_MAX: usize = 10_000;

/// Looks up a path that must not lead out.
pub(crate) fn again<T>(mut look_up: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..LOOKUPS_MAX {
        match look_up() {
            Err(Errno::EAGAIN) => std::thread::yield_now(),
            other => return other,
        }
    }
    look_up()
}

/// A root that is not entered yet.
pub(super) struct NewRoot {
    handle: OwnedFd,
    /// Whether something that is in the way of a folder is thrown away. Never if folders of the machine are seen.
    own: bool,
}

impl NewRoot {
    /// A root that belongs to this sandbox alone, whatever packages have made of it.
    pub(super) fn own(handle: OwnedFd) -> Self {
        Self { handle, own: true }
    }

    /// A root in which folders of the machine are seen.
    pub(super) fn shared(handle: OwnedFd) -> Self {
        Self { handle, own: false }
    }

    /// Something inside.
    pub(super) fn find(&self, path: &Path) -> Result<OwnedFd> {
        self.open(path, PLACE)
    }

    fn open(&self, path: &Path, flags: OFlag) -> Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        again(|| openat2(&self.handle, path, how))
    }

    /// A folder inside, made with those above it if it is missing.
    pub(super) fn folder(&self, path: &Path) -> Result<OwnedFd> {
        let mut so_far = PathBuf::new();
        let mut at = self.handle.try_clone().map_err(|_| Errno::last())?;
        for part in path
            .components()
            .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        {
            so_far.push(part);
            at = match self.open(&so_far, PLACE | OFlag::O_DIRECTORY) {
                Ok(found) if !self.own || !self.is_top(&found)? => found,
                // In the way: a file, a link that leads nowhere, or one to the root itself, over which nothing can be mounted.
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {
                    self.make(&at, part.as_os_str().as_ref())?
                }
                Err(error) => return Err(error),
            };
        }
        Ok(at)
    }

    fn make(&self, above: &OwnedFd, name: &Path) -> Result<OwnedFd> {
        if self.own {
            match unlinkat(above, name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        mkdirat(above, name, Mode::from_bits_truncate(0o755))?;
        openat(
            above,
            name,
            PLACE | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW,
            Mode::empty(),
        )
    }

    fn is_top(&self, found: &OwnedFd) -> Result<bool> {
        let same = |a: FileStat, b: FileStat| a.st_dev == b.st_dev && a.st_ino == b.st_ino;
        Ok(same(fstat(found)?, fstat(&self.handle)?))
    }

    /// A new file in a folder inside.
    pub(super) fn file(&self, path: &Path) -> Result<OwnedFd> {
        let above = path.parent().unwrap_or(path);
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        let flags =
            OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(
            self.folder(above)?,
            name,
            flags,
            Mode::from_bits_truncate(0o644),
        )
    }

    /// A file inside to mount something over: the one that is there, or a new one in the place of a link or whatever else is.
    pub(super) fn plain_file(&self, path: &Path) -> Result<OwnedFd> {
        match self.open(path, PLACE | OFlag::O_NOFOLLOW) {
            Ok(found) if fstat(&found)?.st_mode & libc::S_IFMT == libc::S_IFREG => {
                return Ok(found);
            }
            Ok(_) => unlinkat(
                self.folder(path.parent().unwrap_or(path))?,
                path.file_name().unwrap_or_default(),
                UnlinkatFlags::NoRemoveDir,
            )?,
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        self.file(path)
    }

    /// A new link in a folder inside.
    pub(super) fn link(&self, path: &Path, target: &Path) -> Result<()> {
        let above = path.parent().unwrap_or(path);
        let name = path.file_name().ok_or(Errno::EINVAL)?;
        symlinkat(target, self.folder(above)?, name)
    }
}

impl AsFd for NewRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// A path to a place that is open, for what takes only paths.
pub(super) fn path_of(place: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()))
}

/// Gives a place to somebody.
pub(super) fn give(place: &OwnedFd, user: u32) -> Result<()> {
    nix::unistd::fchownat(
        place,
        "",
        Some(user.into()),
        Some(user.into()),
        AtFlags::AT_EMPTY_PATH,
    )
}

/// Properties of a mount (mount_setattr(2)).
pub(super) const NO_SUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub(super) const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
pub(super) const NO_PROGRAMS: u64 = libc::MOUNT_ATTR_NOEXEC;
pub(super) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// A mount that is nowhere yet.
pub(super) struct DetachedMount(OwnedFd);

impl DetachedMount {
    /// A new file system with options as mount(8) takes them: `mode=755,size=16m` (fsopen(2), fsconfig(2), fsmount(2)).
    pub(super) fn new(kind: &str, options: &str, properties: u64) -> Result<Self> {
        let name = text(kind.as_bytes())?;
        // SAFETY: the name is a C string that lives through the call.
        let opened = handle(unsafe {
            libc::syscall(libc::SYS_fsopen, name.as_ptr(), libc::FSOPEN_CLOEXEC)
        })?;
        set(
            &opened,
            libc::FSCONFIG_SET_STRING,
            Some(c"source"),
            Some(&name),
        )?;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((key, value)) => {
                    let key = text(key.as_bytes())?;
                    let value = text(value.as_bytes())?;
                    set(&opened, libc::FSCONFIG_SET_STRING, Some(&key), Some(&value))?;
                }
                None => set(
                    &opened,
                    libc::FSCONFIG_SET_FLAG,
                    Some(&text(option.as_bytes())?),
                    None,
                )?,
            }
        }
        set(&opened, libc::FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: it takes numbers; the handle is open.
        handle(unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                opened.as_raw_fd(),
                libc::FSMOUNT_CLOEXEC,
                properties,
            )
        })
        .map(Self)
    }

    /// What is seen at a path of the machine, once more.
    pub(super) fn copy(path: &Path) -> Result<Self> {
        let path = text(path.as_os_str().as_bytes())?;
        open_tree(libc::AT_FDCWD, &path, libc::AT_RECURSIVE as u32)
    }

    /// What is seen at a place, once more.
    pub(super) fn copy_of(place: &OwnedFd) -> Result<Self> {
        open_tree(
            place.as_raw_fd(),
            c"",
            (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH) as u32,
        )
    }

    /// The same, with all that is mounted in it, only to be read (mount_setattr(2), Linux 5.12).
    pub(super) fn read_only(self) -> Result<Self> {
        // SAFETY: all zeroes is a valid `mount_attr`: nothing is set and nothing is cleared.
        let mut change: libc::mount_attr = unsafe { std::mem::zeroed() };
        change.attr_set = READ_ONLY;
        let flags = libc::AT_RECURSIVE | libc::AT_EMPTY_PATH;
        // SAFETY: the path is an empty C string, and the structure has the size that is given.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                flags,
                &raw mut change,
                size_of::<libc::mount_attr>(),
            )
        };
        Errno::result(result).map(|_| self)
    }

    /// Puts it over a place, and answers with a handle on its top folder (move_mount(2)).
    pub(super) fn over(self, place: &OwnedFd) -> Result<OwnedFd> {
        let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
        // SAFETY: both paths are empty C strings, both handles are open.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                self.0.as_raw_fd(),
                c"".as_ptr(),
                place.as_raw_fd(),
                c"".as_ptr(),
                flags,
            )
        };
        Errno::result(result).map(|_| self.0)
    }
}

fn open_tree(folder: i32, path: &CStr, more: u32) -> Result<DetachedMount> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | more;
    // SAFETY: the path is a C string that lives through the call.
    handle(unsafe { libc::syscall(libc::SYS_open_tree, folder, path.as_ptr(), flags) })
        .map(DetachedMount)
}

fn set(
    file_system: &OwnedFd,
    what: libc::fsconfig_command,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are C strings that live through the call, or not there as the command wants it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            file_system.as_raw_fd(),
            what,
            pointer(key),
            pointer(value),
            0,
        )
    };
    Errno::result(result).map(drop)
}

fn text(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}

fn handle(answer: libc::c_long) -> Result<OwnedFd> {
    let number = Errno::result(answer)?;
    // SAFETY: the kernel has just opened it for this call, and nobody else knows of it.
    i32::try_from(number)
        .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
        .map_err(|_| Errno::EBADF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_that_the_kernel_gave_up_is_made_again_and_no_other() {
        let mut answers = [Err(Errno::EAGAIN), Err(Errno::EAGAIN), Ok(1), Ok(2)].into_iter();
        assert_eq!(again(|| answers.next().unwrap()), Ok(1));
        let mut answers = [Err(Errno::ENOENT), Ok(1)].into_iter();
        assert_eq!(again(|| answers.next().unwrap()), Err(Errno::ENOENT));
        assert_eq!(again::<()>(|| Err(Errno::EAGAIN)), Err(Errno::EAGAIN));
    }
}
