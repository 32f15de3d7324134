//! Why something cannot be shown.

use millrace_core::BuildId;
use millrace_core::task::TaskId;
use millrace_store::StateError;
use millrace_store::roots::RootsError;

/// The sentence is for the person who asked, but for the last two: there a store failed, a retry may help, and the cause is for the line's
/// log.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// No record, or no possible name of one.
    #[error("There is no {what} “{id}”.")]
    NoRecord {
        /// `build`, `package`.
        what: &'static str,
        /// As it was asked for, cut to a length that keeps the sentence readable.
        id: String,
    },
    /// The build has other tasks.
    #[error("Build {build} has no task “{task}”.")]
    NoTask { build: BuildId, task: TaskId },
    #[error("No runner has taken {0} yet, so there is no log.")]
    NotTaken(TaskId),
    /// The task has fewer attempts.
    #[error("{task} has no attempt {attempt}; the latest is {latest}.")]
    NoAttempt {
        task: TaskId,
        attempt: u32,
        /// The latest that there is.
        latest: u32,
    },
    /// Nobody reported what was in the roots.
    #[error("Nothing is known of the roots of build {0}.")]
    NoRoots(BuildId),
    /// A position that `next` of this list did not give out.
    #[error("`after` is no place in this list: take it from `next`.")]
    Position,
    /// The state store failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The blob store failed, or its record of roots cannot be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
}

impl ViewError {
    /// Longest id that is repeated, in characters.
    const ID_CHARS_MAX: usize = 100;

    pub(crate) fn no_record(what: &'static str, id: &str) -> Self {
        Self::NoRecord {
            what,
            id: id.chars().take(Self::ID_CHARS_MAX).collect(),
        }
    }
}
