//! What a command finds in the sandbox when it looks around: the protections, seen from the side that they are against.

use super::capabilities::KEPT;
use super::setup_error::{Doing, SetupResult};
use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Parts of `/proc` and `/sys` through which root sets the whole machine.
const KNOBS: [&str; 3] = ["/proc/sys", "/proc/sysrq-trigger", "/sys"];

/// What is seen from inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inspection {
    pub(crate) interfaces: Vec<String>,
    /// Processes, by their ids in the sandbox.
    pub(crate) processes: Vec<u32>,
    /// What of [`KNOBS`] could be written to.
    pub(crate) knobs: Vec<String>,
    /// Whether programs that make their user root do so no more.
    pub(crate) no_new_privileges: bool,
    /// Capabilities that are within reach beyond those that packages need, by number.
    pub(crate) capabilities: Vec<u32>,
    /// Whether system calls are refused that no build needs.
    pub(crate) filtered: bool,
    /// Whether folders list their files alike, whatever the disk has first.
    pub(crate) ordered: bool,
}

/// Looks around, and prints what it saw as JSON.
pub(super) fn print() -> SetupResult<()> {
    let status = fs::read_to_string("/proc/self/status").doing("/proc/self/status")?;
    let devices = fs::read_to_string("/proc/self/net/dev").doing("/proc/self/net/dev")?;
    let looked = Inspection {
        interfaces: interfaces(&devices),
        processes: processes(),
        knobs: KNOBS
            .iter()
            .filter(|path| is_writable(path))
            .map(|path| (*path).to_owned())
            .collect(),
        no_new_privileges: field(&status, "NoNewPrivs") == Some("1"),
        capabilities: field(&status, "CapBnd").map_or_else(|| (0..64).collect(), beyond),
        filtered: is_filtered(),
        ordered: is_ordered().doing(PLACE)?,
    };
    println!("{}", serde_json::to_string(&looked).doing("its JSON")?);
    Ok(())
}

/// The first two lines are a heading (proc(5)).
fn interfaces(devices: &str) -> Vec<String> {
    devices
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// A mount that is only read refuses everybody; what is not there is not written to either.
fn is_writable(path: &str) -> bool {
    Path::new(path).exists()
        && !statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// The capabilities of a set, in hexadecimal digits, that nobody keeps; all of them if it cannot be read.
fn beyond(digits: &str) -> Vec<u32> {
    let set = u64::from_str_radix(digits, 16).unwrap_or(u64::MAX);
    (0..64)
        .filter(|number| set >> number & 1 == 1 && !KEPT.contains(number))
        .collect()
}

/// A call that is refused by the filter alone: without any namespace to leave, the kernel lets everybody make it (unshare(2)).
fn is_filtered() -> bool {
    // SAFETY: no flag means that nothing changes.
    unsafe { libc::unshare(0) != 0 && Errno::last() == Errno::EPERM }
}

/// Where it may write; a file system in memory, which lists the newest first if nobody answers for it.
const PLACE: &str = "/tmp";

/// Makes the same files in opposite orders.
fn is_ordered() -> std::io::Result<bool> {
    const FILES: u32 = 16;
    let list = |name: &str, files: &[u32]| {
        let folder = Path::new(PLACE).join(name);
        fs::create_dir(&folder)?;
        files
            .iter()
            .try_for_each(|file| fs::write(folder.join(file.to_string()), ""))?;
        fs::read_dir(&folder)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<std::io::Result<Vec<_>>>()
    };
    let (up, down): (Vec<_>, Vec<_>) = ((0..FILES).collect(), (0..FILES).rev().collect());
    Ok(list("up", &up)? == list("down", &down)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_as_it_is_meant() {
        let devices = "Inter-|   Receive\n face |bytes\n    lo:  1 2\n  eth0:  3 4\n";
        assert_eq!(interfaces(devices), ["lo", "eth0"]);
        let status = "Name:\tx\nCapBnd:\t0000000080200000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(
            [
                field(status, "NoNewPrivs"),
                field(status, "CapBnd"),
                field(status, "Cap")
            ],
            [Some("1"), Some("0000000080200000"), None]
        );
        assert_eq!(
            beyond("0000000080200000"),
            [21],
            "SYS_ADMIN is beyond, SETFCAP is kept"
        );
        assert_eq!(beyond("nonsense").len(), 64 - KEPT.len());
    }

    #[test]
    fn outside_of_sandboxes_nothing_is_filtered() {
        assert!(!is_filtered());
        assert!(!processes().is_empty());
    }
}
