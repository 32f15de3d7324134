//! The queue and the runners, as they are shown.

use crate::time::rfc3339;
use crate::words::span;
use millrace_core::queue::{Priority, QueueWait};
use millrace_core::task::TaskId;
use millrace_core::{
    Arch, BuildId, FeatureName, PackageName, PlatformName, ProjectName, RunnerName, Timestamp,
};
use millrace_store::queue::Outlook;
use millrace_store::runner_status::RunnerStatus;
use serde::Serialize;
use std::collections::BTreeSet;

/// A task that could be done, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingView {
    pub build: BuildId,
    pub task: TaskId,
    pub package: PackageName,
    /// Where it is built.
    pub platform: PlatformName,
    pub project: ProjectName,
    pub priority: Priority,
    /// When its build was planned.
    #[serde(serialize_with = "rfc3339")]
    pub since: Timestamp,
    /// What it waits for: `nothing`, `turn` or `host`, and how long that will be as far as that can be said.
    pub wait: QueueWait,
    /// The same as a sentence.
    pub words: String,
}

impl WaitingView {
    /// What is shown of a task.
    pub fn of(outlook: Outlook) -> Self {
        let Outlook {
            queued,
            package,
            platform,
            forecast,
        } = outlook;
        Self {
            words: words(&forecast.wait),
            build: queued.build,
            task: queued.task,
            package,
            platform,
            project: queued.rank.project,
            priority: queued.rank.priority,
            since: queued.since,
            wait: forecast.wait,
        }
    }
}

fn words(wait: &QueueWait) -> String {
    match wait {
        QueueWait::Nothing => "a runner is free, and takes it when it asks next".to_owned(),
        QueueWait::Turn { ms, ahead, hosts } => {
            let ahead = match ahead {
                0 => "it is next".to_owned(),
                1 => "1 task is ahead".to_owned(),
                more => format!("{more} tasks are ahead"),
            };
            let hosts = if *hosts == 1 {
                "1 runner".to_owned()
            } else {
                format!("{hosts} runners")
            };
            format!("about {}: {ahead}, for {hosts}", span(*ms))
        }
        QueueWait::Runner { reason } => reason.clone(),
    }
}

/// A runner that asks, or asked, for work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunnerView {
    pub runner: RunnerName,
    /// `working`, `waiting`, or `away` if it has been silent for some minutes.
    pub state: &'static str,
    /// What it builds for, its own first.
    pub architectures: Vec<Arch>,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Free disk, in bytes.
    pub disk_bytes: u64,
    /// What not every machine has.
    pub features: BTreeSet<FeatureName>,
    /// What it is reserved for, if not for everything.
    pub reserved: Option<String>,
    /// The build that it works on.
    pub build: Option<BuildId>,
    pub task: Option<TaskId>,
    /// When it asked for work last, give or take a minute.
    #[serde(serialize_with = "rfc3339")]
    pub asked: Timestamp,
}

impl RunnerView {
    /// What is shown of a runner.
    pub fn of(runner: RunnerStatus) -> Self {
        let (build, task) = runner.at.unzip();
        let state = match (&build, runner.is_present) {
            (Some(_), _) => "working",
            (None, true) => "waiting",
            (None, false) => "away",
        };
        let ask = runner.last_ask;
        Self {
            runner: ask.name,
            state,
            architectures: ask.arches,
            memory_bytes: ask.capacity.memory_bytes,
            disk_bytes: ask.capacity.disk_bytes,
            features: ask.capacity.features,
            reserved: ask.reserved.words(),
            build,
            task,
            asked: ask.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_told_in_words() {
        let turn = |ahead, hosts| {
            words(&QueueWait::Turn {
                ms: 178_000,
                ahead,
                hosts,
            })
        };
        assert_eq!(turn(0, 1), "about 2 min 58 s: it is next, for 1 runner");
        assert_eq!(
            turn(1, 3),
            "about 2 min 58 s: 1 task is ahead, for 3 runners"
        );
        assert_eq!(
            turn(7, 3),
            "about 2 min 58 s: 7 tasks are ahead, for 3 runners"
        );
    }
}
