//! Why a root was not made, or not changed.

use crate::sandbox::SandboxError;
use std::io;

/// A root that was not made, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing provides these, or they contradict each other; in dnf's words.
    #[error("{}", .0.join("\n"))]
    Unresolved(Vec<String>),
    /// A repository does not answer, or answers nonsense. A retry may help.
    #[error("{0}")]
    Repository(String),
    /// A scriptlet failed, or something is not there to be removed.
    #[error("{0}")]
    Transaction(String),
    /// What was asked for is no package, or not in the task's folder.
    #[error("{0}")]
    Refused(String),
    /// It took longer than the task may take, or the task was given up.
    #[error("making the root was stopped")]
    Stopped,
    /// The sandbox does not work.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Files, folders.
    #[error("the root: {0}")]
    Io(#[from] io::Error),
}

impl RootError {
    /// The same, if no package of a task had a part in it: the keeper of the platform must act.
    pub(super) fn of_platform(self, what: &str) -> Self {
        match self {
            Self::Unresolved(problems) => Self::Refused(format!("{what}: {}", problems.join("\n"))),
            Self::Transaction(problem) => Self::Refused(format!("{what}: {problem}")),
            other => other,
        }
    }
}
