//! How long tasks will wait, and for what: the queue played forward with the machines that there are.

use super::{Capacity, QueuedTask, Reservation, sort_queue};
use crate::task::TaskId;
use crate::{Arch, BuildId, ProjectName, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Tasks that are played: what is behind them waits for hours, and nobody plans by its minute.
const PLAYED_MAX: usize = 2_000;

/// A machine that was heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRunner {
    pub name: RunnerName,
    /// What it builds for, its own first.
    pub arches: Vec<Arch>,
    pub capacity: Capacity,
    /// What it is reserved for.
    pub reserved: Reservation,
    /// What it does now.
    pub at_work: Option<CurrentWork>,
}

/// What a machine does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentWork {
    pub project: ProjectName,
    /// When it will be free, by what such tasks took before.
    pub until: Timestamp,
}

/// When a task will start, or why it will not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    pub build: BuildId,
    pub task: TaskId,
    /// How long, and for what.
    pub wait: QueueWait,
}

/// What a task that could be done waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "kebab-case")]
pub enum QueueWait {
    /// A machine that is free: it takes the task as soon as it asks.
    Nothing,
    Turn {
        /// About how long, in milliseconds.
        ms: u64,
        /// Tasks that are taken before it.
        ahead: usize,
        /// Machines that do such tasks.
        hosts: usize,
    },
    /// A runner that is not there.
    #[serde(rename = "host")]
    Runner {
        /// Why none of those that are there will do, in words.
        reason: String,
    },
}

/// What each of the tasks that wait will wait for, in the order in which they will be taken. `takes_ms` says how long a task takes.
pub fn forecast(
    mut queued: Vec<QueuedTask>,
    mut hosts: Vec<KnownRunner>,
    takes_ms: impl Fn(&QueuedTask) -> u64,
    now: Timestamp,
) -> Vec<Forecast> {
    let mut running: BTreeMap<ProjectName, usize> = BTreeMap::new();
    for work in hosts.iter().filter_map(|host| host.at_work.as_ref()) {
        *running.entry(work.project.clone()).or_default() += 1;
    }
    sort_queue(&mut queued, &running);
    let (mut told, mut behind) = (Vec::new(), Vec::new());
    for task in queued {
        match hosts
            .iter()
            .filter(|host| host.refuses(&task).is_none())
            .count()
        {
            0 => told.push(told_of(
                &task,
                QueueWait::Runner {
                    reason: nobody(&task, &hosts),
                },
            )),
            _ => behind.push(task),
        }
    }
    let mut ahead = 0;
    while let Some((at, host)) = next(&behind, &hosts).filter(|_| ahead < PLAYED_MAX) {
        let task = behind.remove(at);
        let free = hosts[host].at_work.take();
        if let Some(work) = &free {
            running
                .entry(work.project.clone())
                .and_modify(|count| *count -= 1);
        }
        let from = free.map_or(now, |work| work.until.max(now));
        let able = hosts
            .iter()
            .filter(|host| host.refuses(&task).is_none())
            .count();
        let wait = match from.since_ms(now) {
            0 => QueueWait::Nothing,
            ms => QueueWait::Turn {
                ms,
                ahead,
                hosts: able,
            },
        };
        *running.entry(task.rank.project.clone()).or_default() += 1;
        hosts[host].at_work = Some(CurrentWork {
            project: task.rank.project.clone(),
            until: from.plus_ms(takes_ms(&task)),
        });
        told.push(told_of(&task, wait));
        ahead += 1;
        sort_queue(&mut behind, &running);
    }
    told
}

fn told_of(task: &QueuedTask, wait: QueueWait) -> Forecast {
    Forecast {
        build: task.build.clone(),
        task: task.task.clone(),
        wait,
    }
}

/// The machine that is free first of those that will do something of what waits, and what it takes.
fn next(queued: &[QueuedTask], hosts: &[KnownRunner]) -> Option<(usize, usize)> {
    let free_at = |host: &KnownRunner| {
        host.at_work
            .as_ref()
            .map_or(Timestamp(0), |work| work.until)
    };
    let mut order: Vec<usize> = (0..hosts.len()).collect();
    order.sort_by_key(|at| free_at(&hosts[*at]));
    order.into_iter().find_map(|host| {
        Some((
            queued
                .iter()
                .position(|task| hosts[host].refuses(task).is_none())?,
            host,
        ))
    })
}

impl KnownRunner {
    /// Why it will not do a task, in words; none if it will.
    pub fn refuses(&self, task: &QueuedTask) -> Option<String> {
        let arch = task.task.arch;
        if let Some(arch) = arch.filter(|arch| !self.arches.contains(arch)) {
            return Some(format!("does not build for {arch}"));
        }
        if !self
            .arches
            .first()
            .is_some_and(|own| self.reserved.admits(*own, arch, &task.rank))
        {
            return Some(format!(
                "is reserved for {}",
                self.reserved.words().unwrap_or_default()
            ));
        }
        if task.not_by.as_ref() == Some(&self.name) {
            return Some("did it the first time; another runner must repeat it".to_owned());
        }
        self.capacity
            .lacks(&task.requires)
            .map(|lack| format!("is too little: the task wants {lack}"))
    }
}

/// Why no machine will do a task: what the one says that comes nearest.
fn nobody(task: &QueuedTask, hosts: &[KnownRunner]) -> String {
    let builds = |host: &&KnownRunner| {
        task.task
            .arch
            .is_none_or(|arch| host.arches.contains(&arch))
    };
    match (hosts.iter().find(builds), task.task.arch) {
        (Some(host), _) => format!(
            "runner {} {}",
            host.name,
            host.refuses(task).unwrap_or_default()
        ),
        (None, Some(arch)) => format!(
            "no runner for {arch} is there: `millrace runner add --arch {arch}` lets one in"
        ),
        (None, None) => {
            "no runner is there: `millrace up` brings its own, `millrace runner add` lets others in"
                .to_owned()
        }
    }
}
