//! The whole shell around the rules: load, step, save; again if somebody else was faster.

use crate::orders::keep;
use crate::records::{Stored, get};
use crate::state::{
    Commit, Expect, Key, RECORD_BYTES_MAX, SaveError, StateError, StateStore, Version,
};
use millrace_core::Timestamp;
use millrace_core::build;
use millrace_core::order::Effect;
use std::error::Error;
use std::fmt::Display;

/// Times that a decision is made again because somebody else wrote first. Each time somebody else got on, so this many in a
/// row mean that something writes in a circle.
const CONFLICTS_MAX: usize = 100;

/// What is left free in the record of an aggregate until it ends, in bytes: room for the words of its end, and for what ends with it.
const RESERVE_BYTES: usize = 16 * 1024;

/// What changes by events alone, and is one record: its rules say what follows from each event.
pub trait Aggregate: Stored {
    /// Names one; as text it is the id of the record.
    type Id: Display + Sync;
    /// What may happen to one.
    type Event: Clone + Send;
    /// Why the rules say no.
    type Refused: Error + Send + Sync + 'static;

    /// Lets an event happen, and answers what follows. A refused event leaves it as it was.
    fn step(&mut self, event: Self::Event, now: Timestamp) -> Result<Vec<Effect>, Self::Refused>;

    /// The event that ends one that no store would take any more; its record would have so many bytes.
    fn outgrown(bytes: u64, bytes_max: u64) -> Self::Event;

    /// Whether nothing happens to it any more but what ends things. Until then its record leaves room for that.
    fn is_ended(&self) -> bool;
}

/// An aggregate that did not get on.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError<R: Error + 'static = build::Refused> {
    /// The rules say no; it is as it was. A retry does not help.
    #[error(transparent)]
    Refused(R),
    /// There is none of this name.
    #[error("there is no {} {}", .0.table.as_str(), .0.id)]
    Unknown(Key),
    /// The store's trouble, a conflict without end among it. A retry may help.
    #[error(transparent)]
    Save(#[from] SaveError),
}

impl<R: Error + 'static> From<StateError> for AdvanceError<R> {
    fn from(error: StateError) -> Self {
        Self::Save(SaveError::State(error))
    }
}

/// Lets an event happen to an aggregate: its new state and what follows are written in one conditional write, or nothing is.
///
/// One that no store would take any more ends instead, with words that say so: an event that can never be written would come
/// again and again.
pub async fn advance<A: Aggregate>(
    state: &impl StateStore,
    id: &A::Id,
    event: A::Event,
    now: Timestamp,
) -> Result<A, AdvanceError<A::Refused>> {
    let key = Key::new(A::TABLE, id.to_string());
    let mut event = event;
    let mut is_outgrown = false;
    let mut tries = 0;
    loop {
        let Some((before, version)) = get::<A>(state, key.table, &key.id).await? else {
            return Err(AdvanceError::Unknown(key));
        };
        let mut after = before.clone();
        let effects = after
            .step(event.clone(), now)
            .map_err(AdvanceError::Refused)?;
        if after == before && effects.is_empty() {
            return Ok(after);
        }
        match save(state, &after, version, effects).await {
            Ok(()) => return Ok(after),
            Err(SaveError::Conflict(_)) if tries < CONFLICTS_MAX => tries += 1,
            Err(SaveError::TooLarge { bytes, .. }) if !is_outgrown => {
                is_outgrown = true;
                let bytes_max = RECORD_BYTES_MAX - RESERVE_BYTES;
                event = A::outgrown(bytes as u64, bytes_max as u64);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn save<A: Aggregate>(
    state: &impl StateStore,
    aggregate: &A,
    version: Version,
    effects: Vec<Effect>,
) -> Result<(), SaveError> {
    let write = aggregate.write(Expect::Version(version))?;
    let bytes = write.body.as_ref().map_or(0, String::len);
    if bytes > RECORD_BYTES_MAX - RESERVE_BYTES && !aggregate.is_ended() {
        return Err(SaveError::TooLarge {
            what: write.key.id,
            bytes,
        });
    }
    let mut writes = vec![write];
    for effect in &effects {
        writes.extend(keep(state, effect).await?);
    }
    state.save(Commit { writes, effects }).await
}
