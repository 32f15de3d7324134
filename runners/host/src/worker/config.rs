//! What a runner needs to know, and why it may not be able to run.

use crate::line::client::DeskError;
use crate::machine::emulation::EmulationError;
use crate::plugin::engine::{Code, EngineError};
use millrace_core::{Arch, FeatureName, RunnerName};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

/// What a runner needs to know.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Where the line is: `http://127.0.0.1:8080`.
    pub desk_url: String,
    /// The runner's token for the line.
    pub token: String,
    pub runner: RunnerName,
    /// What it builds for.
    pub arch: Arch,
    /// What it also builds for, by emulation.
    pub emulates: Vec<Arch>,
    /// A folder of its own, for roots, compiled plugins and tasks.
    pub state: PathBuf,
    /// The program that starts commands in the sandbox.
    pub launcher: PathBuf,
    /// Features that not every machine has, named by the person who looks after this one.
    pub features: BTreeSet<FeatureName>,
    /// What plugins are compiled to.
    pub code: Code,
    /// A folder for records of what plugins ask for, one file per task, if somebody wants them.
    pub traces: Option<PathBuf>,
}

/// Why a runner cannot run. A retry does not help; the person who set it up must act.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its folder cannot be used.
    #[error("the runner's folder {folder}: {source}")]
    Folder { folder: PathBuf, source: io::Error },
    /// Another runner works in its folder, and each would throw away what the other has begun.
    #[error(
        "the runner's folder {folder} is in use by the process {process}: give this runner a folder of its own, or stop that process"
    )]
    InUse { folder: PathBuf, process: String },
    /// A protection that matters is missing.
    #[error(
        "no task may run on this machine (`millrace runner doctor` says all there is to say; a line takes --no-runner):\n{0}"
    )]
    Unprotected(String),
    /// It cannot emulate what it is told to.
    #[error(transparent)]
    Emulation(#[from] EmulationError),
    /// wasmtime does not work here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The line does not know it.
    #[error("make a token with `millrace runner add`, and give it to this runner: {0}")]
    Unauthorized(#[source] DeskError),
}
