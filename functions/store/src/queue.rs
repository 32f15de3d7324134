//! The queue as it lies in the store: where ready tasks stand, how many of each project run, and which machines were heard of.

use crate::builds::load_build;
use crate::index::{LEASED, leased_share, package_platform_index, queued, ready_index};
use crate::records::{all, get, put};
use crate::state::{Expect, SaveError, StateError, StateStore, Table, Write};
use millrace_core::build::Build;
use millrace_core::queue::{
    Capacity, CurrentWork, Forecast, KnownRunner, QueuedTask, Reservation, forecast, next_tasks,
};
use millrace_core::task::{Task, TaskId, TaskState};
use millrace_core::{Arch, BuildId, PackageName, PlatformName, ProjectName, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Index entries read at once.
const PAGE: usize = 64;

/// Ready tasks looked at for one runner: more than anybody has waiting at once but for the rebuild of a distribution.
const LOOKED_AT_MAX: usize = 20_000;

/// Builds looked at to see what runs: more than there are runners.
const RUNNING_MAX: usize = 1_000;

/// How long after it was last heard of a machine that has nothing to do is taken to be there, in milliseconds: one that waits asks every
/// half minute, and every second question is written down.
pub const SEEN_MS: u64 = 180_000;

/// How often it is written down that a machine asks, in milliseconds.
const SEEN_PAUSE_MS: u64 = 60_000;

/// How long a machine that does not come back is remembered, in milliseconds: a week, in which people ask what became of it.
const FORGOTTEN_MS: u64 = 7 * 24 * 3_600_000;

/// What a task takes of which nothing is known, in milliseconds: what half of a distribution's packages take.
const TAKES_MS: u64 = 180_000;

/// Builds of a package looked at for how long a task of it takes: the last, and one before it where that failed.
const EARLIER: usize = 3;

/// Ready tasks of these indexes, of each project the first `each` or some more; and whether there are others behind them.
pub async fn heads(
    state: &impl StateStore,
    indexes: &[String],
    each: usize,
) -> Result<(Vec<QueuedTask>, bool), StateError> {
    let (mut found, mut more) = (Vec::new(), false);
    for index in indexes {
        let (mut after, mut of_project): (Option<String>, (Option<ProjectName>, usize)) =
            (None, (None, 0));
        while found.len() < LOOKED_AT_MAX {
            let page = state
                .index_entries(index, after.as_deref(), PAGE.min(each))
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.sort.clone());
            for queued in page.iter().filter_map(|hit| queued(&hit.sort)) {
                if of_project.0.as_ref() != Some(&queued.rank.project) {
                    of_project = (Some(queued.rank.project.clone()), 0);
                }
                of_project.1 += 1;
                found.push(queued);
            }
            if page.len() < PAGE.min(each) {
                break;
            }
            if let (Some(project), true) = (&of_project.0, of_project.1 >= each) {
                more = true;
                // The first place that none of this project's is before: `0` comes after `/`.
                after = Some(format!("{project}0"));
            }
        }
    }
    Ok((found, more))
}

/// How many tasks of each project run.
pub async fn running(state: &impl StateStore) -> Result<BTreeMap<ProjectName, usize>, StateError> {
    let mut running = BTreeMap::new();
    for hit in state.index_entries(LEASED, None, RUNNING_MAX).await? {
        if let Some((project, leased)) = leased_share(&hit.sort) {
            *running.entry(project).or_default() += leased;
        }
    }
    Ok(running)
}

/// A machine that asked for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Who.
    pub name: RunnerName,
    /// What it builds for, its own first.
    pub arches: Vec<Arch>,
    /// What it has.
    pub capacity: Capacity,
    /// What it is kept for.
    #[serde(default)]
    pub reserved: Reservation,
    /// When it asked last, give or take a minute.
    pub at: Timestamp,
}

/// Writes down that a machine asks for work, unless that was written a moment ago.
pub async fn see(state: &impl StateStore, seen: &Seen) -> Result<(), SaveError> {
    let id = seen.name.as_str();
    let expect = match get::<Seen>(state, Table::Machine, id).await? {
        Some((before, _))
            if before.at.plus_ms(SEEN_PAUSE_MS) > seen.at
                && Seen {
                    at: seen.at,
                    ..before.clone()
                } == *seen =>
        {
            return Ok(());
        }
        Some((_, version)) => Expect::Version(version),
        None => {
            forget(state, seen.at).await?;
            Expect::Absent
        }
    };
    match put(state, Table::Machine, id, expect, seen, Vec::new()).await {
        // It asks twice at once.
        Err(SaveError::Conflict(_)) => Ok(()),
        other => other,
    }
}

/// Forgets machines that have not come back for long.
async fn forget(state: &impl StateStore, now: Timestamp) -> Result<(), SaveError> {
    for record in state.list(Table::Machine, None, PAGE).await? {
        let seen: Result<Seen, _> = crate::records::parse(&record);
        if seen.is_ok_and(|seen| seen.at.plus_ms(FORGOTTEN_MS) > now) {
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

/// A machine as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// As it last asked.
    pub seen: Seen,
    /// What it works on, where it does.
    pub at: Option<(BuildId, TaskId)>,
    /// Whether it is taken to be there.
    pub is_there: bool,
}

/// A task that could be done, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The task.
    pub queued: QueuedTask,
    /// Of which package.
    pub package: PackageName,
    /// On which platform.
    pub platform: PlatformName,
    /// What it waits for.
    pub forecast: Forecast,
}

/// The machines that asked for work in the last days.
pub async fn machines(state: &impl StateStore, now: Timestamp) -> Result<Vec<Machine>, StateError> {
    Ok(at_work(state, &mut Earlier::default(), now)
        .await?
        .into_iter()
        .map(|(machine, _)| machine)
        .collect())
}

/// The machines, and of those that work on something what that is to the queue.
async fn at_work(
    state: &impl StateStore,
    earlier: &mut Earlier,
    now: Timestamp,
) -> Result<Vec<(Machine, Option<CurrentWork>)>, StateError> {
    let mut working: BTreeMap<RunnerName, (BuildId, TaskId, CurrentWork)> = BTreeMap::new();
    for hit in state.index_entries(LEASED, None, RUNNING_MAX).await? {
        let Ok(id) = hit.key.id.parse() else {
            continue;
        };
        let Some((build, _)) = load_build(state, &id).await? else {
            continue;
        };
        for task in &build.tasks {
            let Some(lease) = task.lease() else { continue };
            let takes = earlier
                .takes_ms(
                    state,
                    &build.push.announced.package,
                    &build.platform.name,
                    &task.id,
                )
                .await?;
            let work = CurrentWork {
                project: build.rank.project.clone(),
                until: lease.since.plus_ms(takes),
            };
            working.insert(
                lease.runner.clone(),
                (build.id.clone(), task.id.clone(), work),
            );
        }
    }
    let all: Vec<Seen> = all(state, Table::Machine).await?;
    let machine = |seen: Seen| {
        let working = working.remove(&seen.name);
        let is_there = working.is_some() || seen.at.plus_ms(SEEN_MS) > now;
        let (at, work) = working
            .map(|(build, task, work)| ((build, task), work))
            .unzip();
        (Machine { seen, at, is_there }, work)
    };
    Ok(all.into_iter().map(machine).collect())
}

/// What the tasks that could be done wait for, at most so many of them, in the order in which they will be taken.
pub async fn outlook(
    state: &impl StateStore,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Outlook>, StateError> {
    let indexes: Vec<String> = Arch::ALL
        .into_iter()
        .map(Some)
        .chain([None])
        .map(ready_index)
        .collect();
    let (queued, _) = heads(state, &indexes, limit).await?;
    let mut earlier = Earlier::default();
    let mut known: BTreeMap<(BuildId, TaskId), (QueuedTask, PackageName, PlatformName, u64)> =
        BTreeMap::new();
    for queued in next_tasks(queued, &running(state).await?, limit) {
        let Some((build, _)) = load_build(state, &queued.build).await? else {
            continue;
        };
        // An index entry may be a moment old.
        if !build.ready().any(|task| *task == queued.task) {
            continue;
        }
        let (package, platform) = (build.push.announced.package, build.platform.name);
        let takes = earlier
            .takes_ms(state, &package, &platform, &queued.task)
            .await?;
        known.insert(
            (queued.build.clone(), queued.task.clone()),
            (queued, package, platform, takes),
        );
    }
    let hosts = at_work(state, &mut earlier, now)
        .await?
        .into_iter()
        .filter(|(machine, _)| machine.is_there);
    let hosts = hosts.map(|(Machine { seen, .. }, at_work)| {
        let Seen {
            name,
            arches,
            capacity,
            reserved,
            ..
        } = seen;
        KnownRunner {
            name,
            arches,
            capacity,
            reserved,
            at_work,
        }
    });
    let waiting = known.values().map(|(queued, ..)| queued.clone()).collect();
    let takes = |queued: &QueuedTask| {
        known
            .get(&(queued.build.clone(), queued.task.clone()))
            .map_or(TAKES_MS, |(.., takes)| *takes)
    };
    let told = forecast(waiting, hosts.collect(), takes, now);
    let outlook = |forecast: Forecast| {
        let (queued, package, platform, _) = known
            .get(&(forecast.build.clone(), forecast.task.clone()))?
            .clone();
        Some(Outlook {
            queued,
            package,
            platform,
            forecast,
        })
    };
    Ok(told.into_iter().filter_map(outlook).collect())
}

/// Last builds of packages on platforms, each looked for once.
#[derive(Default)]
struct Earlier(BTreeMap<(PackageName, PlatformName), Vec<Build>>);

impl Earlier {
    /// How long a task takes, by what it took in the package's last builds.
    async fn takes_ms(
        &mut self,
        state: &impl StateStore,
        package: &PackageName,
        platform: &PlatformName,
        task: &TaskId,
    ) -> Result<u64, StateError> {
        let key = (package.clone(), platform.clone());
        if !self.0.contains_key(&key) {
            let mut builds = Vec::new();
            for hit in state
                .index_entries(&package_platform_index(package, platform), None, EARLIER)
                .await?
            {
                let Ok(id) = hit.key.id.parse() else {
                    continue;
                };
                builds.extend(load_build(state, &id).await?.map(|(build, _)| build));
            }
            self.0.insert(key.clone(), builds);
        }
        let took = self
            .0
            .get(&key)
            .into_iter()
            .flatten()
            .find_map(|build| took_ms(build.task(task)?));
        Ok(took.unwrap_or(TAKES_MS))
    }
}

fn took_ms(task: &Task) -> Option<u64> {
    let passed = matches!(task.state, TaskState::Passed { .. });
    task.times()
        .filter(|_| passed)
        .and_then(|(began, ended)| Some(ended?.since_ms(began)))
}
