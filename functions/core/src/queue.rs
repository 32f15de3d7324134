//! The tasks that wait: which of them a runner takes, and how long each will wait and for what.
//!
//! A runner takes the most urgent. Of those that are equally urgent it takes one of the project that has the least running now, so that a
//! thousand builds of one hold up nobody else; and of that project's the oldest. What it cannot do, or is not there for, it passes over.

mod forecast;

pub use forecast::{CurrentWork, Forecast, KnownRunner, QueueWait, forecast};

use crate::platform::Requires;
use crate::task::TaskId;
use crate::{Arch, BuildId, FeatureName, ProjectName, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;

/// How much a build should be ahead of others.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Before everything else: a fix that must be out today.
    Urgent,
    #[default]
    Normal,
    /// When nothing else waits: the rebuild of a distribution.
    Background,
}

/// No priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no priority: there are urgent, normal and background")]
pub struct PriorityError(String);

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Background];

    /// As people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Background => "background",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| PriorityError(text.to_owned()))
    }
}

/// Where a build stands among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rank {
    pub project: ProjectName,
    #[serde(default)]
    pub priority: Priority,
}

impl Default for Rank {
    fn default() -> Self {
        Self {
            project: ProjectName::of_clone_url(""),
            priority: Priority::default(),
        }
    }
}

/// A task that waits for a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedTask {
    /// Where its build stands.
    pub rank: Rank,
    /// Since when its build is there.
    pub since: Timestamp,
    pub build: BuildId,
    pub task: TaskId,
    /// What it asks of a machine.
    pub requires: Requires,
    /// Which runner must not do it, so that another one shows whether it makes the same files.
    pub not_by: Option<RunnerName>,
}

/// Puts tasks into the order in which they are taken, given how many tasks of each project run.
pub fn sort_queue(queued: &mut [QueuedTask], running: &BTreeMap<ProjectName, usize>) {
    queued.sort_by(|a, b| order(a, running).cmp(&order(b, running)));
}

/// The first of these tasks that are taken, as many as `count`, if nothing that runs ends meanwhile: each that is taken is one more
/// that runs of its project.
pub fn next_tasks(
    mut queued: Vec<QueuedTask>,
    running: &BTreeMap<ProjectName, usize>,
    count: usize,
) -> Vec<QueuedTask> {
    let mut running = running.clone();
    sort_queue(&mut queued, &BTreeMap::new());
    // Of each project and priority only its oldest can be next.
    let mut lines: BTreeMap<(Priority, ProjectName), VecDeque<QueuedTask>> = BTreeMap::new();
    for task in queued {
        lines
            .entry((task.rank.priority, task.rank.project.clone()))
            .or_default()
            .push_back(task);
    }
    let mut taken = Vec::new();
    while taken.len() < count {
        let heads = lines.values_mut().filter(|line| !line.is_empty());
        let Some(line) = heads.min_by(|a, b| order(&a[0], &running).cmp(&order(&b[0], &running)))
        else {
            break;
        };
        let Some(task) = line.pop_front() else { break };
        *running.entry(task.rank.project.clone()).or_default() += 1;
        taken.push(task);
    }
    taken
}

type Order<'a> = (Priority, usize, Timestamp, &'a BuildId, &'a TaskId);

fn order<'a>(queued: &'a QueuedTask, running: &BTreeMap<ProjectName, usize>) -> Order<'a> {
    let runs = running
        .get(&queued.rank.project)
        .copied()
        .unwrap_or_default();
    (
        queued.rank.priority,
        runs,
        queued.since,
        &queued.build,
        &queued.task,
    )
}

/// What a machine has for one task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capacity {
    /// Memory, in bytes; 0 if it is not known.
    pub memory_bytes: u64,
    /// Disk that is free below the runner's folder, in bytes; 0 if it is not known.
    pub disk_bytes: u64,
    /// What not every machine has, as its keeper names it: `secure-boot`, `kvm`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<FeatureName>,
}

impl Capacity {
    /// Whether nothing is known of it.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// What a task asks for and this machine does not have, in words; none if it has all.
    pub fn lacks(&self, requires: &Requires) -> Option<String> {
        let short = |what: &str, wanted: Option<u64>, has: u64| {
            wanted
                .filter(|wanted| *wanted > has)
                .map(|wanted| format!("{} of {what}, and it has {}", mib(wanted), mib(has)))
        };
        let feature = requires
            .features
            .iter()
            .find(|feature| !self.features.contains(*feature));
        short("memory", requires.memory_bytes, self.memory_bytes)
            .or_else(|| short("free disk", requires.disk_bytes, self.disk_bytes))
            .or_else(|| feature.map(|feature| format!("`{feature}`, which it does not have")))
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// What a runner is reserved for; by default for everything that its machine can do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reservation {
    /// Only for tasks of its own architecture, not for those that any runner may do: so that the one machine of a rare architecture is
    /// free for what only it can do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own_arch: bool,
    /// Only for these projects; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<ProjectName>,
    /// Only for what is at least as urgent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Priority>,
}

impl Reservation {
    /// Whether it is for everything.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a machine of its `own` architecture is for a task of this one, or of none, in a build of this rank.
    pub fn admits(&self, own: Arch, arch: Option<Arch>, rank: &Rank) -> bool {
        let arch = !self.own_arch || arch == Some(own);
        let project = self.projects.is_empty() || self.projects.contains(&rank.project);
        arch && project && self.at_least.is_none_or(|least| rank.priority <= least)
    }

    /// What it is reserved for, in words; none if for everything.
    pub fn words(&self) -> Option<String> {
        let own = self.own_arch.then(|| "its own architecture".to_owned());
        let projects = (!self.projects.is_empty()).then(|| {
            format!(
                "project {}",
                self.projects
                    .iter()
                    .map(ProjectName::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        });
        let least = self.at_least.map(|least| match least {
            Priority::Urgent => "what is urgent".to_owned(),
            Priority::Normal | Priority::Background => format!("what is at least {least}"),
        });
        let words: Vec<String> = [own, projects, least].into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(" and "))
    }
}

#[cfg(test)]
mod tests;
