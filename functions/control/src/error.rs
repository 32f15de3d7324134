//! Why a verb was not done, and who must act.

use millrace_core::build::Refused;
use millrace_core::hold::HoldRefused;
use millrace_core::ownership::OwnedName;
use millrace_core::roots::LockError;
use millrace_core::task::TaskId;
use millrace_core::{BuildId, PackageName, PlatformName, PluginName, RunnerName};
use millrace_store::packages::RegisterError;
use millrace_store::roots::RootsError;
use millrace_store::{AdvanceError, BlobError, MessageId, SaveError, StateError};
use std::path::PathBuf;

/// A verb that was not done. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// What was named does not exist: another name helps.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// What was asked for makes no sense; it says what would.
    #[error("{0}")]
    Invalid(String),
    /// The rules of builds say no.
    #[error(transparent)]
    Refused(Refused),
    /// Nobody gets into the sandbox.
    #[error(transparent)]
    Hold(#[from] HoldRefused),
    /// The package was not registered.
    #[error(transparent)]
    Register(RegisterError),
    /// The runner's name is taken.
    #[error("there is a runner `{0}` already: remove it first, or take another name")]
    RunnerTaken(RunnerName),
    /// A file of the caller's.
    #[error("{}", .path.display())]
    File {
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// It is no lock that this version can use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What a runner has handed in about roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The store's trouble: a retry may help.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The blob store's trouble: a retry may help.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// What was named does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No package of this name.
    #[error("no package `{0}`: `millrace package add {0} URL` registers it")]
    Package(PackageName),
    /// The name was not granted to the package.
    #[error(
        "`{name}` was not granted to package {package} on {platform}: `millrace package names {package}` lists what is its own and what was granted"
    )]
    Grant {
        package: PackageName,
        name: OwnedName,
        platform: PlatformName,
    },
    /// No platform of this name.
    #[error("no platform `{0}`: `millrace platform list`")]
    Platform(PlatformName),
    /// No plugin of this name.
    #[error("no plugin `{0}`: `millrace plugin list`")]
    Plugin(PluginName),
    /// No runner of this name.
    #[error("no runner `{0}`: `millrace runner list`")]
    Runner(RunnerName),
    /// No build whose id begins so.
    #[error("no build `{0}`: `millrace builds` lists them")]
    Build(String),
    /// A build without such a task.
    #[error("build {build} has no task {task}")]
    Task { build: BuildId, task: TaskId },
    /// No message of this number waits.
    #[error(
        "no message {}: it is settled, or there was none; `millrace messages list`", .0.0
    )]
    Message(MessageId),
    /// No sandbox is held.
    #[error("{0}")]
    Hold(String),
}

impl From<StateError> for ControlError {
    fn from(error: StateError) -> Self {
        Self::Save(SaveError::State(error))
    }
}

impl From<AdvanceError> for ControlError {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::Refused(refused) => Self::Refused(refused),
            AdvanceError::Unknown(key) => NotFound::Build(key.id).into(),
            AdvanceError::Save(error) => Self::Save(error),
        }
    }
}

impl From<RegisterError> for ControlError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Save(error) => Self::Save(error),
            error => Self::Register(error),
        }
    }
}
