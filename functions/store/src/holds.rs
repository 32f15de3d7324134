//! Where held sandboxes lie, and what goes to and fro between a terminal and one of them.
//!
//! A session has two records, and each has one writer: what is typed is the terminal's, what is printed the runner's.

use crate::index::{HOLDS, runner_holds_index};
use crate::records::{self, Stored, create, get, put, remove};
use crate::state::{Expect, IndexEntry, Key, SaveError, StateError, StateStore, Table};
use millrace_core::build::Build;
use millrace_core::hold::{Hold, Printed, Typed};
use millrace_core::task::{LeaseId, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Id of a hold: that of its attempt.
pub fn hold_id(lease_id: &LeaseId) -> String {
    format!("{}/{}/{}", lease_id.build, lease_id.task, lease_id.number)
}

impl Stored for Hold {
    const TABLE: Table = Table::Hold;

    fn id(&self) -> String {
        hold_id(&self.lease_id)
    }

    fn index_entries(&self) -> Vec<IndexEntry> {
        index_entries(self)
    }
}

fn index_entries(hold: &Hold) -> Vec<IndexEntry> {
    if hold.end.is_some() {
        return Vec::new();
    }
    let id = hold_id(&hold.lease_id);
    let by_time = IndexEntry {
        index: HOLDS.to_owned(),
        sort: format!("{:020}/{id}", hold.until.0),
    };
    vec![
        by_time,
        IndexEntry {
            index: runner_holds_index(&hold.runner),
            sort: id,
        },
    ]
}

/// Reads the hold of an attempt.
pub async fn load_hold(
    state: &impl StateStore,
    lease_id: &LeaseId,
) -> Result<Option<Hold>, StateError> {
    Ok(get(state, Table::Hold, &hold_id(lease_id))
        .await?
        .map(|(hold, _)| hold))
}

/// Writes a new hold down; one that is there stays as it is.
pub async fn begin_hold(state: &impl StateStore, hold: &Hold) -> Result<(), SaveError> {
    create(state, hold).await.map(drop)
}

/// Changes a hold, and answers what the change does; none if there is no such hold. Again if somebody else was faster.
pub async fn change_hold<T>(
    state: &impl StateStore,
    lease_id: &LeaseId,
    change: impl Fn(&mut Hold) -> T,
) -> Result<Option<T>, SaveError> {
    records::change(state, &hold_id(lease_id), change).await
}

/// Holds of an index, at most so many.
pub async fn holds_of(
    state: &impl StateStore,
    index: &str,
    limit: usize,
) -> Result<Vec<Hold>, StateError> {
    let mut holds = Vec::new();
    for hit in state.index_entries(index, None, limit).await? {
        // An index entry may be a moment older than its record.
        if let Some((hold, _)) = get::<Hold>(state, Table::Hold, &hit.key.id).await? {
            holds.push(hold);
        }
    }
    Ok(holds)
}

/// The holds of a build: of the latest attempt at each of its tasks. A build that wants none has none, and nothing is read.
pub async fn holds_of_build(
    state: &impl StateStore,
    build: &Build,
) -> Result<Vec<Hold>, StateError> {
    let mut holds = Vec::new();
    if build.push.announced.options.hold_s.is_none() {
        return Ok(holds);
    }
    for lease_id in build.tasks.iter().filter_map(|task| latest(build, task)) {
        holds.extend(load_hold(state, &lease_id).await?);
    }
    Ok(holds)
}

fn latest(build: &Build, task: &Task) -> Option<LeaseId> {
    let lease = task.attempts.last()?.number;
    Some(LeaseId {
        build: build.id.clone(),
        task: task.id.clone(),
        number: lease,
    })
}

/// Ids of the two records of a session.
fn typed_id(lease_id: &LeaseId, session: u32) -> String {
    format!("{}/{session}/typed", hold_id(lease_id))
}

fn printed_id(lease_id: &LeaseId, session: u32) -> String {
    format!("{}/{session}/printed", hold_id(lease_id))
}

/// What is typed in a session.
pub async fn typed(
    state: &impl StateStore,
    lease_id: &LeaseId,
    session: u32,
) -> Result<Typed, StateError> {
    let found = get(state, Table::Session, &typed_id(lease_id, session)).await?;
    Ok(found.map(|(typed, _)| typed).unwrap_or_default())
}

/// Changes what is typed; for the terminal of the session alone.
pub async fn change_typed(
    state: &impl StateStore,
    lease_id: &LeaseId,
    session: u32,
    change: impl Fn(&mut Typed),
) -> Result<Typed, SaveError> {
    change_one(state, &typed_id(lease_id, session), change).await
}

/// What is printed in a session; none before its runner has said anything.
pub async fn printed(
    state: &impl StateStore,
    lease_id: &LeaseId,
    session: u32,
) -> Result<Option<Printed>, StateError> {
    Ok(get(state, Table::Session, &printed_id(lease_id, session))
        .await?
        .map(|(printed, _)| printed))
}

/// Changes what is printed; for the runner of the session alone.
pub async fn change_printed(
    state: &impl StateStore,
    lease_id: &LeaseId,
    session: u32,
    change: impl Fn(&mut Printed),
) -> Result<Printed, SaveError> {
    change_one(state, &printed_id(lease_id, session), change).await
}

async fn change_one<T>(
    state: &impl StateStore,
    id: &str,
    change: impl Fn(&mut T),
) -> Result<T, SaveError>
where
    T: Default + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync,
{
    loop {
        let found = get::<T>(state, Table::Session, id).await?;
        let (before, expect) = match found {
            Some((value, version)) => (Some(value), Expect::Version(version)),
            None => (None, Expect::Absent),
        };
        let mut value = before.clone().unwrap_or_default();
        change(&mut value);
        if before.as_ref() == Some(&value) {
            return Ok(value);
        }
        match put(state, Table::Session, id, expect, &value, Vec::new()).await {
            Ok(()) => return Ok(value),
            // An answer was lost on the way, and what was asked is asked again at the same time.
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
    }
}

/// Forgets what was typed and printed in the sessions of a hold.
pub async fn forget_sessions(state: &impl StateStore, hold: &Hold) -> Result<(), SaveError> {
    for session in &hold.sessions {
        for id in [
            typed_id(&hold.lease_id, session.number),
            printed_id(&hold.lease_id, session.number),
        ] {
            remove(state, &Key::new(Table::Session, id)).await?;
        }
    }
    Ok(())
}
