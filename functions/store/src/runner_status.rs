//! Runners as they were last heard of: what each says it is, and what it works on.

use crate::builds::load_build;
use crate::durations::PastBuilds;
use crate::index::LEASED;
use crate::records::{all, get, parse, put};
use crate::state::{Expect, SaveError, StateError, StateStore, Table, Write};
use millrace_core::build::Build;
use millrace_core::queue::{Capacity, CurrentWork, Reservation};
use millrace_core::task::TaskId;
use millrace_core::{Arch, BuildId, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Builds looked at to see what runs: more than there are runners.
pub(crate) const RUNNING_MAX: usize = 1_000;

/// How long after it was last heard of a runner that has nothing to do counts as present, in milliseconds: one that waits asks every
/// half minute, and every second question is written down.
pub const PRESENT_MS: u64 = 180_000;

/// How often it is written down that a runner asks, in milliseconds.
const ASKED_PAUSE_MS: u64 = 60_000;

/// How long a runner that does not come back is remembered, in milliseconds: a week, in which people ask what became of it.
const FORGOTTEN_MS: u64 = 7 * 24 * 3_600_000;

/// Runners looked at for those to be forgotten.
const PAGE: usize = 64;

/// What a runner said when it last asked for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAsk {
    pub name: RunnerName,
    /// What it builds for, its own first.
    pub arches: Vec<Arch>,
    pub capacity: Capacity,
    /// What it is reserved for.
    #[serde(default)]
    pub reserved: Reservation,
    /// When it asked last, give or take a minute.
    pub at: Timestamp,
}

/// Writes down that a runner asks for work, unless that was written a moment ago.
pub async fn record_ask(state: &impl StateStore, last_ask: &LastAsk) -> Result<(), SaveError> {
    let id = last_ask.name.as_str();
    let expect = match get::<LastAsk>(state, Table::LastAsk, id).await? {
        Some((before, _)) if says_nothing_new(&before, last_ask) => return Ok(()),
        Some((_, version)) => Expect::Version(version),
        None => {
            forget(state, last_ask.at).await?;
            Expect::Absent
        }
    };
    match put(state, Table::LastAsk, id, expect, last_ask, Vec::new()).await {
        // It asks twice at once.
        Err(SaveError::Conflict(_)) => Ok(()),
        other => other,
    }
}

fn says_nothing_new(before: &LastAsk, now: &LastAsk) -> bool {
    let as_of_now = LastAsk {
        at: now.at,
        ..before.clone()
    };
    before.at.plus_ms(ASKED_PAUSE_MS) > now.at && as_of_now == *now
}

/// Forgets runners that have not come back for long.
async fn forget(state: &impl StateStore, now: Timestamp) -> Result<(), SaveError> {
    for record in state.list(Table::LastAsk, None, PAGE).await? {
        let last_ask: Result<LastAsk, _> = parse(&record);
        if last_ask.is_ok_and(|last_ask| last_ask.at.plus_ms(FORGOTTEN_MS) > now) {
            continue;
        }
        match state
            .save(Write::removal(record.key, record.version).into())
            .await
        {
            Ok(()) | Err(SaveError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A runner as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerStatus {
    /// What it said when it last asked for work.
    pub last_ask: LastAsk,
    /// What it works on, if it does.
    pub at: Option<(BuildId, TaskId)>,
    /// Whether it counts as present.
    pub is_present: bool,
}

/// The runners that asked for work in the last days.
pub async fn runner_statuses(
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Vec<RunnerStatus>, StateError> {
    let at_work = at_work(state, &mut PastBuilds::default(), now).await?;
    Ok(at_work.into_iter().map(|(status, _)| status).collect())
}

/// The runners, and of those that work on something what that is to the queue.
pub(crate) async fn at_work(
    state: &impl StateStore,
    past: &mut PastBuilds,
    now: Timestamp,
) -> Result<Vec<(RunnerStatus, Option<CurrentWork>)>, StateError> {
    let mut leased = leased(state, past).await?;
    let asks: Vec<LastAsk> = all(state, Table::LastAsk).await?;
    let status = |last_ask: LastAsk| {
        let (at, work) = leased.remove(&last_ask.name).unzip();
        let is_present = at.is_some() || last_ask.at.plus_ms(PRESENT_MS) > now;
        let status = RunnerStatus {
            last_ask,
            at,
            is_present,
        };
        (status, work)
    };
    Ok(asks.into_iter().map(status).collect())
}

/// Who has which task leased, and until when it will work on it.
async fn leased(
    state: &impl StateStore,
    past: &mut PastBuilds,
) -> Result<BTreeMap<RunnerName, ((BuildId, TaskId), CurrentWork)>, StateError> {
    let mut leased = BTreeMap::new();
    for hit in state.index_entries(LEASED, None, RUNNING_MAX).await? {
        let Ok(id) = hit.key.id.parse() else {
            continue;
        };
        let Some((build, _)) = load_build(state, &id).await? else {
            continue;
        };
        for task in &build.tasks {
            let Some(lease) = task.lease() else { continue };
            let takes_ms = takes_ms(state, past, &build, &task.id).await?;
            let work = CurrentWork {
                project: build.rank.project.clone(),
                until: lease.since.plus_ms(takes_ms),
            };
            let at = (build.id.clone(), task.id.clone());
            leased.insert(lease.runner.clone(), (at, work));
        }
    }
    Ok(leased)
}

async fn takes_ms(
    state: &impl StateStore,
    past: &mut PastBuilds,
    build: &Build,
    task: &TaskId,
) -> Result<u64, StateError> {
    let package = &build.push.announced.package;
    past.takes_ms(state, package, &build.platform.name, task)
        .await
}
