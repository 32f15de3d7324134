//! What a runner on this machine is told, and when a program here is told to stop.

use crate::arguments::RunnerOptions;
use anyhow::{Context, Result};
use millrace_core::{Arch, RunnerName};
use millrace_host::plugin::engine::Code;
use millrace_host::worker::WorkerConfig;
use std::path::Path;

/// This machine's architecture, if it is one of the line's.
pub(crate) fn own_arch() -> Result<Arch> {
    let name = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        name => name,
    };
    Ok(name.parse()?)
}

/// The architectures that a machine of this one emulates: none of its own, and each other one once.
pub(crate) fn emulated(mut emulate: Vec<Arch>, arch: Arch) -> Vec<Arch> {
    emulate.retain(|other| *other != arch);
    emulate.sort_unstable();
    emulate.dedup();
    emulate
}

/// What a runner here is told, if the machine may have one.
pub(crate) fn worker_config(
    url: &str,
    token: &str,
    name: RunnerName,
    arch: Arch,
    manner: RunnerOptions,
    folder: &Path,
) -> Result<WorkerConfig> {
    let config = WorkerConfig {
        desk_url: url.to_owned(),
        token: token.to_owned(),
        runner: name,
        arch,
        emulates: emulated(manner.emulate, arch),
        state: folder.to_owned(),
        launcher: std::env::current_exe().context("finding this program")?,
        code: Code::of_this_machine(),
        features: manner.features.into_iter().collect(),
        traces: manner.trace.map(std::path::absolute).transpose()?,
    };
    millrace_host::worker::may_run(&config)?;
    Ok(config)
}

/// Waits for Ctrl-C or the service manager.
pub(crate) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
