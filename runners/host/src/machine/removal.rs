//! Removes folders that foreign commands have filled: however deep they are, and no matter who may read them.
//!
//! `std::fs::remove_dir_all` has a folder open for each level, and gives up at the bound of open files. Here folders are moved up to the
//! top one before they are emptied, so that two are open at a time and no path gets long.

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Removes a folder with all that is in it. A link in its place is removed, not what it points at; nothing there is no error.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    let top = match open(nix::fcntl::AT_FDCWD, folder.as_os_str()) {
        Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::ENOTDIR | Errno::ELOOP) => return fs::remove_file(folder),
        other => other?,
    };
    let mut moved = 0;
    while empty_once(&top, &top, &mut moved)? > 0 {}
    fs::remove_dir(folder)
}

/// Goes through a folder once: files are removed, folders too, if they are empty once what is in them has been moved to the top.
/// Answers how many entries there were.
fn empty_once(folder: &OwnedFd, top: &OwnedFd, moved: &mut u64) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(path_of(folder))? {
        let (entry, is_top) = (entry?, folder.as_raw_fd() == top.as_raw_fd());
        let name = entry.file_name();
        count += 1;
        match unlinkat(folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(error) => return Err(error.into()),
        }
        match unlinkat(folder, name.as_os_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST) if is_top => {
                let full = open(top, &name)?;
                while empty_once(&full, top, moved)? > 0 {}
                unlinkat(folder, name.as_os_str(), UnlinkatFlags::RemoveDir)?;
            }
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => move_up(folder, &name, top, moved)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(count)
}

/// Moves a folder into the top one, under a name that nothing there has.
fn move_up(folder: &OwnedFd, name: &OsStr, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        match renameat(folder, name, top, format!(".removed-{moved}").as_str()) {
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            Err(Errno::EACCES) => {
                // Its entry `..` changes, which its own mode must allow.
                fchmodat(folder, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
                renameat(
                    folder,
                    name,
                    top,
                    format!(".removed-{moved}-again").as_str(),
                )?;
                return Ok(());
            }
            other => return Ok(other?),
        }
    }
}

/// A handle on a folder, never through a link.
fn open(above: impl std::os::fd::AsFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let above = above.as_fd();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(above, name, flags, Mode::empty()) {
        Err(Errno::EACCES) => {}
        other => return other,
    }
    // Its owner has made it unreadable. What is no link now is ours alone to change: nothing of the task runs any more.
    fchmodat(above, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
    openat(above, name, flags, Mode::empty())
}

/// A path that leads to an open folder and to no other, whatever has been moved since.
fn path_of(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    /// Makes folders in each other, and a file in the last.
    pub(crate) fn dig(folder: &Path, levels: usize, bytes: usize) {
        let mut at = open(nix::fcntl::AT_FDCWD, folder.as_os_str()).unwrap();
        for _ in 0..levels {
            mkdirat(&at, "a folder with a name", Mode::S_IRWXU).unwrap();
            at = open(&at, "a folder with a name".as_ref()).unwrap();
        }
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&at, "file", flags, Mode::S_IRWXU).unwrap());
        file.write_all(&vec![1; bytes]).unwrap();
    }

    #[test]
    fn five_thousand_folders_in_each_other_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let task = folder.path().join("task");
        fs::create_dir_all(task.join("beside/it")).unwrap();
        dig(&task, 5000, 1);
        remove_folder(&task).unwrap();
        assert!(!task.exists());
    }

    #[test]
    fn unreadable_folders_and_links_are_removed_and_what_links_point_at_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let task = folder.path().join("task");
        fs::create_dir_all(task.join("closed/in/it")).unwrap();
        fs::write(folder.path().join("kept"), "kept").unwrap();
        fs::write(task.join(".removed-1"), "in the way").unwrap();
        fs::create_dir_all(task.join(".removed-2/full")).unwrap();
        std::os::unix::fs::symlink("../..", task.join("closed/in/up")).unwrap();
        for closed in ["closed/in", "closed"] {
            fs::set_permissions(task.join(closed), fs::Permissions::from_mode(0o0)).unwrap();
        }
        remove_folder(&task).unwrap();
        remove_folder(&task).unwrap();
        assert!(!task.exists() && folder.path().join("kept").exists());
    }
}
