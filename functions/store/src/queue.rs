//! The queue as it lies in the store: who is next, how many tasks of each project run, and what each task waits for.

use crate::builds::load_build;
use crate::durations::{PastBuilds, UNKNOWN_MS};
use crate::index::{LEASED, leased_share, queued, ready_index};
use crate::runner_status::{RUNNING_MAX, RunnerStatus, at_work};
use crate::state::{StateError, StateStore};
use millrace_core::queue::{CurrentWork, Forecast, KnownRunner, QueuedTask, forecast, next_tasks};
use millrace_core::task::TaskId;
use millrace_core::{Arch, BuildId, PackageName, PlatformName, ProjectName, Timestamp};
use std::collections::BTreeMap;

/// Index entries read at once.
const PAGE: usize = 64;

/// Ready tasks looked at for one runner: more than anybody has waiting at once but for the rebuild of a distribution.
const LOOKED_AT_MAX: usize = 20_000;

/// Ready tasks of these indexes, of each project the first `each` or some more; and whether there are others behind them.
pub async fn heads(
    state: &impl StateStore,
    indexes: &[String],
    each: usize,
) -> Result<(Vec<QueuedTask>, bool), StateError> {
    let mut found = Vec::new();
    let mut more = false;
    for index in indexes {
        more |= heads_of(state, index, each, &mut found).await?;
    }
    Ok((found, more))
}

/// Adds those of one index, and answers whether there are others behind them.
async fn heads_of(
    state: &impl StateStore,
    index: &str,
    each: usize,
    found: &mut Vec<QueuedTask>,
) -> Result<bool, StateError> {
    let page_max = PAGE.min(each);
    let mut more = false;
    let mut after: Option<String> = None;
    let mut project: Option<ProjectName> = None;
    let mut of_project = 0;
    while found.len() < LOOKED_AT_MAX {
        let page = state
            .index_entries(index, after.as_deref(), page_max)
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.sort.clone());
        for queued in page.iter().filter_map(|hit| queued(&hit.sort)) {
            if project.as_ref() != Some(&queued.rank.project) {
                project = Some(queued.rank.project.clone());
                of_project = 0;
            }
            of_project += 1;
            found.push(queued);
        }
        if page.len() < page_max {
            break;
        }
        if let Some(project) = project.as_ref().filter(|_| of_project >= each) {
            more = true;
            // The first place that none of this project's is before: `0` comes after `/`.
            after = Some(format!("{project}0"));
        }
    }
    Ok(more)
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

/// A task that could be done, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    pub queued: QueuedTask,
    pub package: PackageName,
    pub platform: PlatformName,
    /// What it waits for.
    pub forecast: Forecast,
}

/// A task that could be done, and what is known of it.
struct Waiting {
    queued: QueuedTask,
    package: PackageName,
    platform: PlatformName,
    takes_ms: u64,
}

/// What the tasks that could be done wait for, at most so many of them, in the order in which they will be taken.
pub async fn outlook(
    state: &impl StateStore,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Outlook>, StateError> {
    let mut past = PastBuilds::default();
    let mut waiting = waiting(state, limit, &mut past).await?;
    let hosts = at_work(state, &mut past, now)
        .await?
        .into_iter()
        .filter(|(runner, _)| runner.is_present)
        .map(|(runner, work)| host(runner, work))
        .collect();
    let tasks = waiting
        .values()
        .map(|waiting| waiting.queued.clone())
        .collect();
    let takes_ms = |queued: &QueuedTask| {
        waiting
            .get(&(queued.build.clone(), queued.task.clone()))
            .map_or(UNKNOWN_MS, |waiting| waiting.takes_ms)
    };
    let forecasts = forecast(tasks, hosts, takes_ms, now);
    let outlook = |forecast: Forecast| {
        let key = (forecast.build.clone(), forecast.task.clone());
        let waiting = waiting.remove(&key)?;
        Some(Outlook {
            queued: waiting.queued,
            package: waiting.package,
            platform: waiting.platform,
            forecast,
        })
    };
    Ok(forecasts.into_iter().filter_map(outlook).collect())
}

/// The first of the ready tasks, and how long each takes.
async fn waiting(
    state: &impl StateStore,
    limit: usize,
    past: &mut PastBuilds,
) -> Result<BTreeMap<(BuildId, TaskId), Waiting>, StateError> {
    let indexes: Vec<String> = Arch::ALL
        .into_iter()
        .map(Some)
        .chain([None])
        .map(ready_index)
        .collect();
    let (queued, _) = heads(state, &indexes, limit).await?;
    let mut waiting = BTreeMap::new();
    for queued in next_tasks(queued, &running(state).await?, limit) {
        let Some((build, _)) = load_build(state, &queued.build).await? else {
            continue;
        };
        // An index entry may be a moment old.
        if !build.ready().any(|task| *task == queued.task) {
            continue;
        }
        let package = build.push.announced.package;
        let platform = build.platform.name;
        let takes_ms = past
            .takes_ms(state, &package, &platform, &queued.task)
            .await?;
        let known = Waiting {
            queued: queued.clone(),
            package,
            platform,
            takes_ms,
        };
        waiting.insert((queued.build, queued.task), known);
    }
    Ok(waiting)
}

fn host(runner: RunnerStatus, at_work: Option<CurrentWork>) -> KnownRunner {
    let ask = runner.last_ask;
    KnownRunner {
        name: ask.name,
        arches: ask.arches,
        capacity: ask.capacity,
        reserved: ask.reserved,
        at_work,
    }
}
