//! Bounds on memory and processes by control groups, of either version, if this machine has them.

use super::process::{Fork, fork_as};
use millrace_core::platform::Limits;
use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid, fork};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where control groups are mounted (cgroups(7)).
const TOP: &str = "/sys/fs/cgroup";

/// What the names of our groups begin with.
const PREFIX: &str = "millrace-";

/// Times that a group is tried to be removed while its last processes die.
const REMOVALS: usize = 100;

/// Times that what is left in a group is killed, and how long it has to die of it each time: ten seconds together. What has not died
/// by then hangs in the kernel, and holds nothing that a next command needs.
const ENDINGS: usize = 2000;
const PAUSE: Duration = Duration::from_millis(5);

/// The file of a group's processes, and that of its threads with version 1.
const PROCESSES: &str = "cgroup.procs";
const THREADS: &str = "tasks";

/// What is bounded for all processes of a command together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
}

/// The groups of one sandbox; removed with it.
#[derive(Debug, Default)]
pub(super) struct Cgroup {
    folders: Vec<PathBuf>,
    /// Whether memory and the number of processes are bounded by them.
    pub(super) memory: bool,
    pub(super) processes: bool,
}

impl Cgroup {
    /// Makes groups with these bounds, as far as the machine lets us; rlimits hold besides.
    pub(super) fn new(name: &str, limits: &Limits) -> io::Result<Self> {
        let mut group = Self::default();
        for (parent, bounds) in parents(limits) {
            let folder = parent.join(format!("{PREFIX}{name}"));
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            for (file, value) in &bounds {
                // Swap accounting is not there everywhere; the others are what the group is for.
                if let Err(error) = fs::write(folder.join(file), value)
                    && !file.contains("sw")
                {
                    let _ = fs::remove_dir(&folder);
                    return Err(io::Error::new(
                        error.kind(),
                        format!("{file} of {}: {error}", folder.display()),
                    ));
                }
            }
            group.memory |= bounds.iter().any(|(file, _)| file.starts_with("memory."));
            group.processes |= bounds.iter().any(|(file, _)| file.starts_with("pids."));
            group.folders.push(folder);
        }
        Ok(group)
    }

    /// What it bounds.
    pub(super) const fn bounds(&self) -> Bounds {
        Bounds {
            memory: self.memory,
            processes: self.processes,
        }
    }

    /// Which bounds do not hold without groups that this machine does not let us make, in words.
    pub(super) fn missing(&self) -> Option<String> {
        let memory = "memory is bounded for each process of a command alone, not for all together";
        let processes = "the number of processes is bounded only for the sandbox's ordinary user, in all sandboxes together";
        let lost: Vec<&str> = [(self.memory, memory), (self.processes, processes)]
            .iter()
            .filter(|(holds, _)| !holds)
            .map(|(_, lost)| *lost)
            .collect();
        (!lost.is_empty()).then(|| {
            let lost = lost.join(", and ");
            format!("no control groups can be made here: {lost}; disk, time and output are bounded as always")
        })
    }

    /// Its folders, one a hierarchy.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Whether the kernel has ended a process of it for want of memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let killed = |text: String| {
            text.lines().any(|line| {
                line.strip_prefix("oom_kill ")
                    .is_some_and(|count| count != "0")
            })
        };
        let files = self.folders.iter().flat_map(|folder| {
            ["memory.events", "memory.oom_control"].map(|file| folder.join(file))
        });
        files
            .filter_map(|file| fs::read_to_string(file).ok())
            .any(killed)
    }

    /// How often it was refused another process.
    pub(super) fn processes_refused(&self) -> u64 {
        let refused = |text: String| {
            text.lines()
                .find_map(|line| line.strip_prefix("max ")?.parse::<u64>().ok())
        };
        let files = self.folders.iter().map(|folder| folder.join("pids.events"));
        files
            .filter_map(|file| fs::read_to_string(file).ok().and_then(refused))
            .sum()
    }

    /// Ends what is left in it, and comes back when nothing is.
    pub(super) fn end(&self) {
        for _ in 0..ENDINGS {
            let left: Vec<i32> = self.processes();
            if left.is_empty() {
                return;
            }
            for process in left {
                let _ = nix::sys::signal::kill(
                    Pid::from_raw(process),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn processes(&self) -> Vec<i32> {
        let texts = self
            .folders
            .iter()
            .map(|folder| fs::read_to_string(folder.join(PROCESSES)).unwrap_or_default());
        texts
            .flat_map(|text| {
                text.lines()
                    .filter_map(|line| line.parse().ok())
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            for _ in 0..REMOVALS {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// The ways into the groups of a sandbox, opened while their file systems are in sight.
///
/// For a process that is moved by its id the kernel waits for all processors, 10 to 20 ms (`cgroup_threadgroup_rwsem`). It does not for one
/// that moves its only thread by itself, which version 1 has a file for, nor for one that begins in a group, as version 2 has it.
#[derive(Debug)]
pub(super) struct GroupEntries {
    files: Vec<File>,
    /// The group of version 2.
    unified: Option<File>,
}

impl GroupEntries {
    pub(super) fn open(folders: &[PathBuf]) -> io::Result<Self> {
        let mut entries = Self {
            files: Vec::new(),
            unified: None,
        };
        for folder in folders {
            let threads = folder.join(THREADS);
            let file = if threads.exists() {
                threads
            } else {
                entries.unified = Some(File::open(folder)?);
                folder.join(PROCESSES)
            };
            let file = File::options().write(true).open(&file);
            entries.files.push(file.map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
            })?);
        }
        Ok(entries)
    }

    /// fork(2); the second is whether the child began in the groups. One that did not is to [`enter`](Self::enter) them.
    ///
    /// # Safety
    ///
    /// This process has one thread.
    pub(super) unsafe fn fork(&self) -> nix::Result<(ForkResult, bool)> {
        if let Some(group) = &self.unified {
            // SAFETY: the caller's word.
            match unsafe { fork_as(Fork::Into(group)) } {
                // A kernel before 5.7, or the rules of a container around us.
                Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM | Errno::EACCES) => {}
                forked => return forked.map(|forked| (forked, true)),
            }
        }
        // SAFETY: the caller's word.
        unsafe { fork() }.map(|forked| (forked, false))
    }

    /// Puts this process, which has one thread, into the groups.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.files
            .iter_mut()
            .try_for_each(|file| file.write_all(b"0"))
    }
}

type Files = Vec<(&'static str, String)>;

/// The groups below which ours go, and what is written into ours.
fn parents(limits: &Limits) -> Vec<(PathBuf, Files)> {
    let memory = limits.memory_bytes.to_string();
    let processes = limits.processes.to_string();
    if Path::new(TOP).join("cgroup.controllers").exists() {
        let bounds = vec![
            ("memory.max", memory),
            ("memory.swap.max", "0".to_owned()),
            ("pids.max", processes),
        ];
        return unified_parent()
            .map(|parent| vec![(parent, bounds)])
            .unwrap_or_default();
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let below_own = |controller: &str| {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            (fields.next()?.split(',').any(|name| name == controller))
                .then(|| fields.next())
                .flatten()
        })?;
        let folder = Path::new(TOP)
            .join(controller)
            .join(path.trim_start_matches('/'));
        folder.is_dir().then_some(folder)
    };
    let memory_bounds = vec![
        ("memory.limit_in_bytes", memory.clone()),
        ("memory.memsw.limit_in_bytes", memory),
    ];
    let both = [
        (below_own("memory"), memory_bounds),
        (below_own("pids"), vec![("pids.max", processes)]),
    ];
    both.into_iter()
        .filter_map(|(folder, bounds)| Some((folder?, bounds)))
        .collect()
}

/// A group of our own at the top of version 2. Groups there hold either processes or groups (cgroups(7), "no internal processes"), and
/// our own group holds us.
fn unified_parent() -> Option<PathBuf> {
    let parent = Path::new(TOP).join("millrace");
    let _ = fs::write(
        Path::new(TOP).join("cgroup.subtree_control"),
        "+memory +pids",
    );
    match fs::create_dir(&parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    fs::write(parent.join("cgroup.subtree_control"), "+memory +pids").ok()?;
    Some(parent)
}

/// The process that a group is named after.
fn maker(group: &str) -> Option<&str> {
    group.strip_prefix(PREFIX)?.split('-').next()
}

/// Removes empty groups of processes that are gone.
pub(super) fn sweep() {
    let some = Limits::default();
    for (parent, _) in parents(&some) {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            // One that lives may be about to put a command into a group that is still empty.
            if maker(&entry.file_name().to_string_lossy())
                .is_some_and(|process| !Path::new("/proc").join(process).exists())
            {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where groups of version 2 are on this machine, whether or not they bound anything.
    fn unified() -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mut mounts = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        mounts
            .find(|fields| fields[2] == "cgroup2")
            .map(|fields| PathBuf::from(fields[1]))
    }

    #[test]
    fn a_process_begins_in_a_group_of_version_2() {
        let Some(top) = unified() else {
            return println!("this machine has no groups of version 2");
        };
        let folder = top.join(format!("{PREFIX}{}-begins", std::process::id()));
        if let Err(error) = fs::create_dir(&folder) {
            return println!("this user may make no groups here: {error}");
        }
        let entries = GroupEntries::open(std::slice::from_ref(&folder)).unwrap();
        // SAFETY: the child does nothing that other threads of this process could have begun.
        let (forked, inside) = unsafe { entries.fork() }.unwrap();
        let child = match forked {
            ForkResult::Child => loop {
                nix::unistd::pause();
            },
            ForkResult::Parent { child } => child,
        };
        let found = fs::read_to_string(folder.join(PROCESSES)).unwrap();
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(child, None).unwrap();
        fs::remove_dir(&folder).unwrap();
        assert!(inside);
        assert_eq!(found.trim(), child.to_string());
    }

    #[test]
    fn bounds_that_do_not_hold_are_named_and_no_others() {
        let group = |memory, processes| Cgroup {
            folders: Vec::new(),
            memory,
            processes,
        };
        assert_eq!(group(true, true).missing(), None);
        let said = group(false, true).missing().unwrap();
        assert!(
            said.contains("memory is bounded for each process")
                && !said.contains("the number of processes"),
            "{said}"
        );
        let said = group(false, false).missing().unwrap();
        assert!(
            said.contains("memory is bounded for each process")
                && said.contains("the number of processes"),
            "{said}"
        );
        assert!(
            said.ends_with("disk, time and output are bounded as always"),
            "{said}"
        );
    }
}
