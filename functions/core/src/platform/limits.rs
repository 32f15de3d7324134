//! Bounds of a task: a platform's, and a step's own over them.

use serde::{Deserialize, Serialize};

/// Bounds that hold for every command of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory of all processes together, in bytes.
    pub memory_bytes: u64,
    /// What the task's folder may grow to, in bytes.
    pub disk_bytes: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// From lease to answer, in seconds.
    pub time_s: u32,
    /// Without a word in its log, in seconds. After half of it the task is reported as stalled.
    pub silence_s: u32,
    /// What the task's log may grow to, in bytes.
    pub log_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 8 << 30, // a parallel C++ link of one large library
            disk_bytes: 40 << 30,  // a debug build of a browser takes about 35 GB
            processes: 4096,       // `make -j64` with a shell or two a job
            time_s: 6 * 3600,      // gcc with its test suite on a slow host
            silence_s: 2 * 3600, // to link a browser with link-time optimization takes an hour, and prints nothing
            log_bytes: 64 << 20, // the longest logs of a distribution's packages have about 50 MB
        }
    }
}

/// Bounds that a step has of its own; what it does not name is as in its platform. Units as in [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StepLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<u64>,
}

impl StepLimits {
    /// These, and a platform's if there are none.
    pub fn over(self, platform: Limits) -> Limits {
        Limits {
            memory_bytes: self.memory_bytes.unwrap_or(platform.memory_bytes),
            disk_bytes: self.disk_bytes.unwrap_or(platform.disk_bytes),
            processes: self.processes.unwrap_or(platform.processes),
            time_s: self.time_s.unwrap_or(platform.time_s),
            silence_s: self.silence_s.unwrap_or(platform.silence_s),
            log_bytes: self.log_bytes.unwrap_or(platform.log_bytes),
        }
    }

    /// These, none of them looser than a platform's.
    pub fn at_most(self, platform: Limits) -> Self {
        Self {
            memory_bytes: self.memory_bytes.map(|own| own.min(platform.memory_bytes)),
            disk_bytes: self.disk_bytes.map(|own| own.min(platform.disk_bytes)),
            processes: self.processes.map(|own| own.min(platform.processes)),
            time_s: self.time_s.map(|own| own.min(platform.time_s)),
            silence_s: self.silence_s.map(|own| own.min(platform.silence_s)),
            log_bytes: self.log_bytes.map(|own| own.min(platform.log_bytes)),
        }
    }
}
/// What the commands of a task may use up and touch, on its way from the platform's step to the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SandboxOptions {
    /// Memory, disk, processes, time and output.
    pub limits: Limits,
    /// Whether commands may use the runner's network. A runner that does not know of it gives none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
    /// Whether folders list their files to commands as the disk has them; if not, in one order on every machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_order: bool,
}
