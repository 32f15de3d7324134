//! A runner: asks the line for work, does it, answers, and asks again.

mod attempt;
mod config;
mod fetch;
mod folder;
pub mod notice;
mod report;
mod runner;
mod serve;
mod setup;

pub use config::{WorkerConfig, WorkerError};
pub use setup::{engine, services};

use crate::doctor::{self, Candidate};
use crate::hold::HeldSandboxes;
use crate::machine::{capacity, emulation};
use crate::plugin::engine::PluginLimits;
use crate::sandbox::Sandbox;
use report::GOODBYE;
use runner::Runner;
use serve::Asking;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tracing::{info_span, warn};

/// Whether this process could do any task at all; to be asked before the line is told of a runner. It takes some tenths of a second.
pub fn may_run(config: &WorkerConfig) -> Result<(), WorkerError> {
    let candidate = Candidate {
        folder: &config.state,
        launcher: &config.launcher,
        line_url: None,
        no_namespace: None,
    };
    doctor::refusal(&doctor::examine(&candidate))
        .map_or(Ok(()), |words| Err(WorkerError::Unprotected(words)))
}

/// Works until `stop` is set, then hands back its task. Returns early only if a retry would never help, or if the line lets it go.
pub fn run(config: WorkerConfig, stop: Arc<AtomicBool>) -> Result<(), WorkerError> {
    let _span = info_span!("runner", runner = %config.runner).entered();
    emulation::check(config.arch, &config.emulates)?;
    let _lock = folder::lock(&config.state)?;
    let tasks = config.state.join("tasks");
    let left = folder::fresh(&tasks)?;
    let engine = setup::engine(&config, PluginLimits::default())?;
    let services = Arc::new(setup::services(&config)?);
    let unbounded = Sandbox::unbounded();
    let held = HeldSandboxes::begin(
        config.runner.clone(),
        config.state.clone(),
        services.clone(),
        stop.clone(),
    );
    let runner = Arc::new(Runner {
        name: config.runner,
        tasks,
        engine,
        services,
        held,
        stop,
        unbounded,
    });
    left.iter()
        .chain(&runner.unbounded)
        .for_each(|what| warn!("{what}"));
    let asking = Asking {
        emulates: config.emulates,
        features: capacity::features(&config.features),
        folder: config.state,
    };
    let ended = serve::serve(&runner, &Arc::new(asking));
    runner.held.end_all("its runner has left", GOODBYE);
    ended
}
