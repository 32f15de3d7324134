//! Bounds on memory and processes by control groups, of either version, where this machine has them.

use millrace_core::platform::Limits;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
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
                    return Err(io::Error::new(error.kind(), format!("{file} of {}: {error}", folder.display())));
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
        Bounds { memory: self.memory, processes: self.processes }
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

    /// The files that a process writes its id into to be bounded.
    pub(super) fn join_files(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// Puts a launcher into it, in a thread of its own. What counts is that the launcher puts the first process of its sandbox there; but
    /// whoever comes first waits some 10 ms for all processors, and the launcher needs as long to get that far. Where this comes to
    /// nothing, so does that, with words.
    pub(super) fn join_soon(&self, launcher: u32) -> JoinHandle<()> {
        let files = self.join_files();
        std::thread::spawn(move || {
            for file in files {
                let _ = fs::write(file, launcher.to_string());
            }
        })
    }

    /// Whether the kernel has ended a process of it for want of memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let killed = |text: String| text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"));
        let files = self.folders.iter().flat_map(|folder| ["memory.events", "memory.oom_control"].map(|file| folder.join(file)));
        files.filter_map(|file| fs::read_to_string(file).ok()).any(killed)
    }

    /// How often it was refused another process.
    pub(super) fn processes_refused(&self) -> u64 {
        let refused = |text: String| text.lines().find_map(|line| line.strip_prefix("max ")?.parse::<u64>().ok());
        let files = self.folders.iter().map(|folder| folder.join("pids.events"));
        files.filter_map(|file| fs::read_to_string(file).ok().and_then(refused)).sum()
    }

    /// Ends what is left in it, and comes back when nothing is.
    pub(super) fn end(&self) {
        for _ in 0..ENDINGS {
            let left: Vec<i32> = self.processes();
            if left.is_empty() {
                return;
            }
            for process in left {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGKILL);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn processes(&self) -> Vec<i32> {
        let texts = self.join_files().into_iter().map(|file| fs::read_to_string(file).unwrap_or_default());
        texts.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect()
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

type Files = Vec<(&'static str, String)>;

/// The groups below which ours go, and what is written into ours.
fn parents(limits: &Limits) -> Vec<(PathBuf, Files)> {
    let (memory, processes) = (limits.memory_bytes.to_string(), limits.processes.to_string());
    if Path::new(TOP).join("cgroup.controllers").exists() {
        let bounds = vec![("memory.max", memory), ("memory.swap.max", "0".to_owned()), ("pids.max", processes)];
        return unified_parent().map(|parent| vec![(parent, bounds)]).unwrap_or_default();
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let below_own = |controller: &str| {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            (fields.next()?.split(',').any(|name| name == controller)).then(|| fields.next()).flatten()
        })?;
        let folder = Path::new(TOP).join(controller).join(path.trim_start_matches('/'));
        folder.is_dir().then_some(folder)
    };
    let memory_bounds = vec![("memory.limit_in_bytes", memory.clone()), ("memory.memsw.limit_in_bytes", memory)];
    let both = [(below_own("memory"), memory_bounds), (below_own("pids"), vec![("pids.max", processes)])];
    both.into_iter().filter_map(|(folder, bounds)| Some((folder?, bounds))).collect()
}

/// A group of our own at the top of version 2. Groups there hold either processes or groups (cgroups(7), "no internal processes"), and
/// our own group holds us.
fn unified_parent() -> Option<PathBuf> {
    let parent = Path::new(TOP).join("millrace");
    let _ = fs::write(Path::new(TOP).join("cgroup.subtree_control"), "+memory +pids");
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
            if maker(&entry.file_name().to_string_lossy()).is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_do_not_hold_are_named_and_no_others() {
        let group = |memory, processes| Cgroup { folders: Vec::new(), memory, processes };
        assert_eq!(group(true, true).missing(), None);
        let said = group(false, true).missing().unwrap();
        assert!(said.contains("memory is bounded for each process") && !said.contains("the number of processes"), "{said}");
        let said = group(false, false).missing().unwrap();
        assert!(said.contains("memory is bounded for each process") && said.contains("the number of processes"), "{said}");
        assert!(said.ends_with("disk, time and output are bounded as always"), "{said}");
    }
}
