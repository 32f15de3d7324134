//! The whole shell around the rules: load, step, save; again where somebody else was faster.

use crate::builds::{build_marks, load_build};
use crate::records::write;
use crate::state::{Commit, Expect, SaveError, StateError, StateStore, Table};
use millrace_core::build::{Build, Event, Refused};
use millrace_core::{BuildId, Timestamp};

/// Times that a decision is made anew because somebody else wrote first. Each time somebody else got on, so this many in a
/// row mean that something writes in a circle.
const CONFLICTS_MAX: usize = 100;

/// A build that did not get on.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// The rules say no; the build is as it was. A retry does not help.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is no such build.
    #[error("there is no build {0}")]
    Unknown(BuildId),
    /// The store's trouble, a conflict without end among it. A retry may help.
    #[error(transparent)]
    Save(#[from] SaveError),
}

impl From<StateError> for AdvanceError {
    fn from(error: StateError) -> Self {
        Self::Save(SaveError::State(error))
    }
}

/// Lets an event happen to a build: its new state and what follows are written in one conditional write, or nothing is.
pub async fn advance(state: &impl StateStore, id: &BuildId, event: Event, now: Timestamp) -> Result<Build, AdvanceError> {
    let mut tries = 0;
    loop {
        let (mut build, version) = load_build(state, id).await?.ok_or_else(|| AdvanceError::Unknown(id.clone()))?;
        let before = build.clone();
        let effects = build.step(event.clone(), now)?;
        if build == before && effects.is_empty() {
            return Ok(build);
        }
        let writes = vec![write(Table::Build, id.as_str(), Expect::Version(version), &build, build_marks(&build))?];
        match state.save(Commit { writes, effects }).await {
            Ok(()) => return Ok(build),
            Err(SaveError::Conflict(_)) if tries < CONFLICTS_MAX => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
