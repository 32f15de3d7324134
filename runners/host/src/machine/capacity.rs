//! What this machine has for a task: memory, disk, and features that not every machine has.

use millrace_core::FeatureName;
use millrace_core::queue::Capacity;
use nix::sys::statvfs::statvfs;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What virtual machines that are fast need, and what firmware that starts only what is signed.
const KVM: &str = "kvm";
const SECURE_BOOT: &str = "secure-boot";

/// UEFI's word on it: four bytes of attributes, and 1 if it is on (UEFI Specification, 3.3, "SecureBoot"; Linux, `efivarfs.rst`).
const SECURE_BOOT_FILE: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What the machine has for one task now, with its roots and tasks below `folder`.
pub fn capacity(folder: &Path, features: &BTreeSet<FeatureName>) -> Capacity {
    Capacity {
        memory_bytes: memory_bytes(),
        disk_bytes: free_bytes(folder),
        features: features.clone(),
    }
}

/// Bytes that an ordinary user can still write below a folder; 0 if the system does not say.
pub fn free_bytes(folder: &Path) -> u64 {
    statvfs(folder).map_or(0, |disk| disk.blocks_available() * disk.fragment_size())
}

/// The features that the person who looks after the machine has named, and those that can be seen.
pub fn features(named: &BTreeSet<FeatureName>) -> BTreeSet<FeatureName> {
    let secure = || fs::read(SECURE_BOOT_FILE).is_ok_and(|bytes| bytes.get(4) == Some(&1));
    let seen = [
        (KVM, Path::new("/dev/kvm").exists()),
        (SECURE_BOOT, secure()),
    ];
    let seen = seen
        .into_iter()
        .filter(|(_, has)| *has)
        .filter_map(|(name, _)| name.parse().ok());
    named.iter().cloned().chain(seen).collect()
}

/// Memory of the machine, in bytes (proc_meminfo(5)); 0 if it does not say.
fn memory_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    total.unwrap_or_default() * 1024
}
