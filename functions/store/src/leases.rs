//! When runners were last heard of. A renewal is a small record of its own, however large its build is: where each write is paid for
//! by its size, renewing would else cost more than everything that it is for. Builds are told when time would decide about them.

use crate::records::{get, put};
use crate::state::{Expect, SaveError, StateError, StateStore, Table};
use millrace_core::build::{Build, LeaseRenewal};
use millrace_core::task::TaskId;
use millrace_core::{BuildId, LeaseNumber, Timestamp};

/// Renewals that come within this time of one that was written down are not written, in milliseconds. A runner that asks often, to hear
/// soon that its task was cancelled, makes no more writes than one that asks now and then. A lease is shorter by as much at worst, and
/// still stands two renewals that were lost.
pub const HEARD_MS: u64 = 15_000;

fn id(build: &BuildId, task: &TaskId, lease: LeaseNumber) -> String {
    format!("{build}/{task}/{lease}")
}

/// Writes down that the holder of a lease was heard of, and answers when it was by what is written. That it holds it is for the caller to
/// know.
pub async fn hear(
    state: &impl StateStore,
    build: &BuildId,
    heard: &LeaseRenewal,
) -> Result<Timestamp, SaveError> {
    let id = id(build, &heard.task, heard.lease);
    let expect = match get::<Timestamp>(state, Table::Lease, &id).await? {
        // One from a time still to come is of a clock that was ahead, and has to go.
        Some((at, _)) if heard.at.since_ms(at) < HEARD_MS && at.since_ms(heard.at) < HEARD_MS => {
            return Ok(at);
        }
        Some((_, version)) => Expect::Version(version),
        None => Expect::Absent,
    };
    match put(state, Table::Lease, &id, expect, &heard.at, Vec::new()).await {
        // It was heard of twice at once.
        Ok(()) | Err(SaveError::Conflict(_)) => Ok(heard.at),
        Err(error) => Err(error),
    }
}

/// When the holders of a build's leases were heard of last, if they were since the leases were given.
pub async fn heard(
    state: &impl StateStore,
    build: &Build,
) -> Result<Vec<LeaseRenewal>, StateError> {
    let mut heard = Vec::new();
    for (task, lease) in build
        .tasks
        .iter()
        .filter_map(|task| Some((&task.id, task.lease()?)))
    {
        if let Some((at, _)) = get(state, Table::Lease, &id(&build.id, task, lease.number)).await? {
            heard.push(LeaseRenewal {
                task: task.clone(),
                lease: lease.number,
                at,
            });
        }
    }
    Ok(heard)
}
