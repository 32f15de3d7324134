//! What all tasks of a runner share.

use crate::buildroot::Buildroots;
use crate::line::client::Desk;
use crate::plugin::engine::{PluginEngine, PluginLimits};
use crate::sandbox::Sandbox;
use crate::worker::{WorkerConfig, WorkerError};
use millrace_core::queue::Capacity;
use millrace_core::{Arch, FeatureName};
use nix::sys::statvfs::statvfs;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The line, the engine, and the machine's roots.
pub struct Machine {
    /// The line.
    pub desk: Desk,
    /// Runs plugins.
    pub engine: PluginEngine,
    /// Runs commands.
    pub sandbox: Sandbox,
    /// Makes roots.
    pub buildroots: Buildroots,
    /// What is built for here.
    pub arch: Arch,
    /// What this machine has and not every other.
    pub features: BTreeSet<FeatureName>,
    /// The runner's folder.
    pub folder: PathBuf,
    /// Where what plugins ask for is written to, where somebody wants to know.
    pub traces: Option<PathBuf>,
    /// Which bounds of commands do not hold here, in words.
    pub unbounded: Option<String>,
}

impl Machine {
    /// Sets everything up below the runner's folder.
    pub fn new(config: &WorkerConfig, limits: PluginLimits) -> Result<Self, WorkerError> {
        let engine = PluginEngine::with_code(&config.state.join("plugins"), limits, config.code)?;
        let sandbox = Sandbox::new(config.launcher.clone());
        let folder = config.state.join("roots");
        let roots = Buildroots::new(&folder, sandbox.clone());
        let buildroots = roots.map_err(|source| WorkerError::Folder { folder, source })?;
        let (desk, unbounded) = (
            Desk::new(&config.desk_url, &config.token),
            Sandbox::unbounded(),
        );
        let (features, folder) = (features(&config.features), config.state.clone());
        let (arch, traces) = (config.arch, config.traces.clone());
        Ok(Self {
            desk,
            engine,
            sandbox,
            buildroots,
            arch,
            features,
            folder,
            traces,
            unbounded,
        })
    }

    /// What it has for one task now.
    pub fn capacity(&self) -> Capacity {
        let disk =
            statvfs(&self.folder).map_or(0, |disk| disk.blocks_available() * disk.fragment_size());
        Capacity {
            memory_bytes: memory_bytes(),
            disk_bytes: disk,
            features: self.features.clone(),
        }
    }
}

/// What virtual machines that are fast need, and what firmware that starts only what is signed.
const KVM: &str = "kvm";
const SECURE_BOOT: &str = "secure-boot";

/// UEFI's word on it: four bytes of attributes, and 1 where it is on (UEFI Specification, 3.3, "SecureBoot"; Linux, `efivarfs.rst`).
const SECURE_BOOT_FILE: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Features that the keeper names, and those that can be seen.
fn features(named: &BTreeSet<FeatureName>) -> BTreeSet<FeatureName> {
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

/// Memory of the machine, in bytes (proc_meminfo(5)); 0 where it does not say.
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
