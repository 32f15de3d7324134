//! What all tasks of a runner share.

use crate::buildroot::Buildroots;
use crate::desk::Desk;
use crate::engine::{PluginEngine, PluginLimits};
use crate::sandbox::Sandbox;
use crate::worker::{WorkerConfig, WorkerError};
use millrace_core::Arch;
use std::path::PathBuf;

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
        let (desk, unbounded) = (Desk::new(&config.desk_url, &config.token), Sandbox::unbounded());
        Ok(Self { desk, engine, sandbox, buildroots, arch: config.arch, traces: config.traces.clone(), unbounded })
    }
}
