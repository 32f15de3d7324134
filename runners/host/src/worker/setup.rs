//! Sets up what a runner works with, below its folder.

use super::config::{WorkerConfig, WorkerError};
use crate::buildroot::Buildroots;
use crate::line::client::Desk;
use crate::plugin::engine::{PluginEngine, PluginLimits};
use crate::plugin::services::HostServices;
use crate::sandbox::Sandbox;

/// What the runner's tasks share.
pub fn services(config: &WorkerConfig) -> Result<HostServices, WorkerError> {
    let sandbox = Sandbox::new(config.launcher.clone());
    let folder = config.state.join("roots");
    let buildroots = Buildroots::new(&folder, sandbox.clone())
        .map_err(|source| WorkerError::Folder { folder, source })?;
    Ok(HostServices {
        desk: Desk::new(&config.desk_url, &config.token),
        sandbox,
        buildroots,
        arch: config.arch,
        traces: config.traces.clone(),
    })
}

/// What runs plugins, with compiled ones on disk.
pub fn engine(config: &WorkerConfig, limits: PluginLimits) -> Result<PluginEngine, WorkerError> {
    let folder = config.state.join("plugins");
    Ok(PluginEngine::with_code(&folder, limits, config.code)?)
}
