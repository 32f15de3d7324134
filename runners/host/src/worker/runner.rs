//! What all that a runner does at a time shares.

use crate::hold::HeldSandboxes;
use crate::plugin::engine::PluginEngine;
use crate::plugin::services::HostServices;
use millrace_core::RunnerName;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Runner {
    pub(super) name: RunnerName,
    /// Where tasks have their folders.
    pub(super) tasks: PathBuf,
    pub(super) engine: PluginEngine,
    pub(super) services: Arc<HostServices>,
    pub(super) held: Arc<HeldSandboxes>,
    /// Set when the runner shall stop.
    pub(super) stop: Arc<AtomicBool>,
    /// Which bounds of commands do not hold here, in words.
    pub(super) unbounded: Option<String>,
}

impl Runner {
    pub(super) fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
