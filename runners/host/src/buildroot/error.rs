//! Why a root was not made, or not changed.

use crate::sandbox::SandboxError;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A root that was not made, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing provides these, or they contradict each other; in dnf's words.
    #[error("{}", .0.join("\n"))]
    Unresolved(Vec<String>),
    /// A repository does not answer, or answers nonsense. A retry may help.
    #[error(transparent)]
    Repository(RepositoryProblem),
    /// A scriptlet failed, or something is not there to be removed.
    #[error("{0}")]
    Transaction(String),
    /// What was asked for is no package, or not in the task's folder.
    #[error("{0}")]
    Refused(String),
    /// A package in the task's folder that makes no sense.
    #[error("{}: {source}", .path.display())]
    UnreadablePackage {
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It took longer than the task may take, or the task was given up.
    #[error("making the root was stopped")]
    Stopped,
    /// The sandbox does not work.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("the root: {0}")]
    Io(#[from] io::Error),
}

/// What is wrong with a repository, in words, and the error that this was due to.
#[derive(Debug)]
pub struct RepositoryProblem {
    words: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for RepositoryProblem {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str(&self.words)?;
        match &self.source {
            Some(source) => write!(text, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for RepositoryProblem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl RootError {
    /// A package that makes no sense for this reason.
    pub(super) fn unreadable(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::UnreadablePackage {
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// A repository that is as these words say.
    pub(super) fn repository(words: impl Into<String>) -> Self {
        Self::Repository(RepositoryProblem {
            words: words.into(),
            source: None,
        })
    }

    /// A repository with which something went wrong for this reason.
    pub(super) fn repository_due_to(
        words: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Repository(RepositoryProblem {
            words: words.into(),
            source: Some(source.into()),
        })
    }

    /// The same, if no package of a task had a part in it: the keeper of the platform must act.
    pub(super) fn of_platform(self, what: &str) -> Self {
        match self {
            Self::Unresolved(problems) => Self::Refused(format!("{what}: {}", problems.join("\n"))),
            Self::Transaction(problem) => Self::Refused(format!("{what}: {problem}")),
            other => other,
        }
    }
}
