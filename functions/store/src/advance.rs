//! The whole shell around the rules: load, step, save; again where somebody else was faster.

use crate::builds::{build_index_entries, load_build};
use crate::orders::keep;
use crate::records::write;
use crate::state::{
    Commit, Expect, RECORD_BYTES_MAX, SaveError, StateError, StateStore, Table, Version,
};
use millrace_core::build::{Build, Event, Refused};
use millrace_core::order::Effect;
use millrace_core::{BuildId, Timestamp};

/// Times that a decision is made anew because somebody else wrote first. Each time somebody else got on, so this many in a
/// row mean that something writes in a circle.
const CONFLICTS_MAX: usize = 100;

/// What is left free in a build's record until it ends, in bytes: room for the words of its end, and for leases that end with it.
const RESERVE_BYTES: usize = 16 * 1024;

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
///
/// A build that no store would take any more ends instead, with words that say so: an event that can never be written would come
/// again and again.
pub async fn advance(
    state: &impl StateStore,
    id: &BuildId,
    event: Event,
    now: Timestamp,
) -> Result<Build, AdvanceError> {
    let (mut event, mut tries) = (event, 0);
    loop {
        let (mut build, version) = load_build(state, id)
            .await?
            .ok_or_else(|| AdvanceError::Unknown(id.clone()))?;
        let before = build.clone();
        let effects = build.step(event.clone(), now)?;
        if build == before && effects.is_empty() {
            return Ok(build);
        }
        match save(state, &build, version, effects).await {
            Ok(()) => return Ok(build),
            Err(SaveError::Conflict(_)) if tries < CONFLICTS_MAX => tries += 1,
            Err(SaveError::TooLarge { bytes, .. }) if !matches!(event, Event::Outgrown { .. }) => {
                event = Event::Outgrown {
                    bytes: bytes as u64,
                    bytes_max: (RECORD_BYTES_MAX - RESERVE_BYTES) as u64,
                };
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn save(
    state: &impl StateStore,
    build: &Build,
    version: Version,
    effects: Vec<Effect>,
) -> Result<(), SaveError> {
    let write = write(
        Table::Build,
        build.id.as_str(),
        Expect::Version(version),
        build,
        build_index_entries(build),
    )?;
    let bytes = write.body.as_ref().map_or(0, String::len);
    if bytes > RECORD_BYTES_MAX - RESERVE_BYTES && !build.is_ended() {
        return Err(SaveError::TooLarge {
            what: build.id.to_string(),
            bytes,
        });
    }
    let mut writes = vec![write];
    for effect in &effects {
        writes.extend(keep(effect)?);
    }
    state.save(Commit { writes, effects }).await
}
