//! How much disk a task uses: the blocks of all files below its folder.

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a small folder is measured, and how often the free space of its file system is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// Longest time between two measurements: a disk writes a few gigabytes in it.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Share of the time that measuring a large folder may take: one part in this many.
const SHARE: u32 = 20;

/// The least that a file or folder counts, in bytes: what it takes in the tables of most file systems is not far below a block.
const ENTRY_BYTES: u64 = 4096;

/// Measurements in a row that may find folders moved away from under them. Builds move folders, but not all the time.
const DISTURBED_MAX: u32 = 20;

/// Measures folders again and again, the more seldom the longer it takes.
pub(super) struct DiskWatch {
    bytes_max: u64,
    /// When the next look at anything is due.
    look: Instant,
    /// When the next measurement is due.
    due: Instant,
    /// What was used, and what was free, at the last measurement.
    used: u64,
    free: Option<u64>,
    disturbed: u32,
}

impl DiskWatch {
    pub(super) fn new(bytes_max: u64) -> Self {
        let due = Instant::now() + PAUSE;
        Self {
            bytes_max,
            look: due,
            due,
            used: 0,
            free: None,
            disturbed: 0,
        }
    }

    /// Whether the folders together have outgrown their bound, as far as it was time to look. They are on one file system.
    pub(super) fn is_over(&mut self, folders: &[PathBuf]) -> bool {
        let now = Instant::now();
        if now < self.look {
            return false;
        }
        self.look = now + PAUSE;
        let free = folders.first().and_then(|folder| free(folder));
        if now < self.due && !self.may_be_over(free) {
            return false;
        }
        let measured: Vec<Measured> = folders.iter().map(|folder| measure(folder)).collect();
        self.due = Instant::now() + pause_after(now.elapsed());
        let bytes = measured
            .iter()
            .fold(0u64, |sum, folder| sum.saturating_add(folder.bytes));
        (self.used, self.free) = (bytes, free);
        self.disturbed = if measured.iter().all(|folder| folder.whole) {
            0
        } else {
            self.disturbed + 1
        };
        bytes > self.bytes_max || self.disturbed > DISTURBED_MAX
    }

    /// Whether so much has gone from the file system since the last measurement that it may have been this task.
    fn may_be_over(&self, free: Option<u64>) -> bool {
        let gone = self
            .free
            .zip(free)
            .map_or(0, |(before, now)| before.saturating_sub(now));
        gone > self.bytes_max.saturating_sub(self.used)
    }
}

fn pause_after(measuring: Duration) -> Duration {
    (measuring * SHARE).clamp(PAUSE, PAUSE_MAX)
}

/// Free bytes of a folder's file system.
fn free(folder: &Path) -> Option<u64> {
    statvfs(folder).ok().map(|found| {
        found
            .blocks_available()
            .saturating_mul(found.fragment_size())
    })
}

/// Bytes on the disk below a folder, on its own file system; the highest number if something cannot be read.
pub(crate) fn used(folder: &Path) -> u64 {
    measure(folder).bytes
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    bytes: u64,
    /// Whether nothing was moved away meanwhile.
    whole: bool,
}

/// A folder on the way down: which one it is, and what is still to be looked at in it.
struct Level {
    id: (u64, u64),
    folders: Vec<OsString>,
}

/// Walks by handles, since paths below deep folders are longer than the kernel takes, and with one folder open at a time, since there
/// are more levels than a process may have files open. The way up is the entry `..`.
fn measure(folder: &Path) -> Measured {
    let unreadable = Measured {
        bytes: u64::MAX,
        whole: true,
    };
    let Ok(mut at) = File::open(folder) else {
        return Measured {
            bytes: 0,
            whole: true,
        };
    };
    let Ok(top) = at.metadata() else {
        return unreadable;
    };
    let mut sum = Sum {
        bytes: 0,
        device: top.dev(),
        linked: BTreeSet::new(),
    };
    let Ok(level) = sum.read(&at) else {
        return unreadable;
    };
    let mut levels = vec![level];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.folders.pop() {
            match enter(&at, &name) {
                Ok(there) => match sum.read(&there) {
                    Ok(level) => {
                        levels.push(level);
                        at = there;
                    }
                    Err(_) => return unreadable,
                },
                // It has vanished, or something else has its name now.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(_) => return unreadable,
            }
            continue;
        }
        levels.pop();
        let Some(above) = levels.last() else { break };
        match enter(&at, "..".as_ref())
            .ok()
            .filter(|there| there.metadata().is_ok_and(|found| id(&found) == above.id))
        {
            Some(there) => at = there,
            None => {
                return Measured {
                    bytes: sum.bytes,
                    whole: false,
                };
            }
        }
    }
    Measured {
        bytes: sum.bytes,
        whole: true,
    }
}

fn enter(at: &File, name: &OsStr) -> nix::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty()).map(File::from)
}

fn id(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

struct Sum {
    bytes: u64,
    device: u64,
    /// Files with several names that were counted.
    linked: BTreeSet<u64>,
}

impl Sum {
    /// Counts what is in a folder, and says which folders there are.
    fn read(&mut self, folder: &File) -> io::Result<Level> {
        let mut level = Level {
            id: id(&folder.metadata()?),
            folders: Vec::new(),
        };
        for entry in fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd()))? {
            let entry = entry?;
            let found = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if found.dev() != self.device
                || (found.nlink() > 1 && !found.is_dir() && !self.linked.insert(found.ino()))
            {
                continue;
            }
            self.bytes = self
                .bytes
                .saturating_add((found.blocks() * 512).max(ENTRY_BYTES));
            if found.is_dir() {
                level.folders.push(entry.file_name());
            }
        }
        Ok(level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::removal::tests::dig;
    use std::fs;

    #[test]
    fn what_lies_deeper_than_any_path_counts() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("task")).unwrap();
        dig(&folder.path().join("task"), 5000, 10 << 20);
        let bytes = used(&folder.path().join("task"));
        crate::machine::removal::remove_folder(&folder.path().join("task")).unwrap();
        assert!((10 << 20..200 << 20).contains(&bytes), "{bytes}");
        assert!(bytes >= (10 << 20) + 5000 * ENTRY_BYTES, "{bytes}");
    }

    #[test]
    fn files_without_content_count_and_second_names_do_not() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..1000 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let before = used(folder.path());
        assert!(before >= 1000 * ENTRY_BYTES, "{before}");
        fs::create_dir(folder.path().join("more")).unwrap();
        fs::hard_link(folder.path().join("1"), folder.path().join("more/1")).unwrap();
        assert_eq!(used(folder.path()), before + ENTRY_BYTES);
    }

    #[test]
    fn folders_beside_each_other_are_all_seen() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/d", "e/f", "g"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
            fs::write(folder.path().join(path).join("file"), vec![1; 100_000]).unwrap();
        }
        assert!(
            (400_000..600_000).contains(&used(folder.path())),
            "{}",
            used(folder.path())
        );
    }

    #[test]
    fn the_time_between_two_measurements_has_a_bound() {
        let pauses = [0, 100, 60_000].map(|ms| pause_after(Duration::from_millis(ms)).as_millis());
        assert_eq!(pauses, [500, 2000, 10_000]);
    }

    #[test]
    fn space_that_goes_fast_is_looked_after_at_once() {
        let watch = DiskWatch {
            used: 60,
            free: Some(1000),
            ..DiskWatch::new(100)
        };
        assert_eq!(
            [Some(1000), Some(965), Some(955), None].map(|free| watch.may_be_over(free)),
            [false, false, true, false]
        );
    }
}
