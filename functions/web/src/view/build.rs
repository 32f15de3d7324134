//! A build, its tasks and what they handed over, as they are shown.

use super::{rfc3339, rfc3339_or_null, segment};
use millrace_core::build::{Build, End, Stage};
use millrace_core::push::Commit;
use millrace_core::rpm::Kind;
use millrace_core::task::{Artifact, Attempt, AttemptEnd, Blame, Task, TaskId, TaskState};
use millrace_core::{BuildId, Digest, LeaseNumber, PackageName, PlatformName, PluginName, PushId, RunnerName, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildView {
    /// Its id.
    pub id: BuildId,
    /// The push that it came of.
    pub push: PushId,
    /// The package.
    pub package: PackageName,
    /// Where it is built.
    pub platform: PlatformName,
    /// What is built.
    pub commit: Commit,
    /// `refs/heads/…` or `refs/tags/…`.
    pub reference: String,
    /// First line of the commit's message.
    pub subject: String,
    /// Who pushed.
    pub pusher: String,
    /// `running`, `signing`, `releasing`, `released`, `passed`, `excluded`, `failed` or `cancelled`.
    pub state: &'static str,
    /// Why, where that is not plain from the state.
    pub reason: Option<String>,
    /// When it was planned.
    #[serde(serialize_with = "rfc3339")]
    pub created: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub ended: Option<Timestamp>,
    /// From plan to end, or to now.
    pub duration_ms: u64,
    /// Number of the generation of the platform's repositories that first had its packages.
    pub generation: Option<u64>,
    /// In the order in which they are done.
    pub tasks: Vec<TaskView>,
    /// What follows the tasks: `sign`, then `release`.
    pub orders: Vec<OrderView>,
    /// What the tasks handed over, as it was built, without signatures.
    pub artifacts: Vec<ArtifactView>,
}

/// A task of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskView {
    /// `source`, `rpm@x86_64`.
    pub task: TaskId,
    /// The plugin that does it.
    pub plugin: Option<PluginName>,
    /// `waiting`, `running`, `passed`, `excluded`, `failed`, `quarantined` or `dropped`.
    pub state: &'static str,
    /// Whether it waits for nothing but a runner.
    pub ready: bool,
    /// What came of it, in words.
    pub reason: Option<String>,
    /// Who must act where it failed: `package`, `configuration`, `environment` or `plugin`.
    pub blame: Option<Blame>,
    /// Number of its latest attempt.
    pub attempt: Option<LeaseNumber>,
    /// Who made it.
    pub runner: Option<RunnerName>,
    /// How long it took, or has been running.
    pub duration_ms: Option<u64>,
    /// All of them, in order; the one that runs is the last.
    pub attempts: Vec<AttemptView>,
}

/// An attempt at a task: one lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    /// The lease's number.
    pub number: LeaseNumber,
    /// Who has or had it.
    pub runner: RunnerName,
    /// When it was given.
    #[serde(serialize_with = "rfc3339")]
    pub began: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub ended: Option<Timestamp>,
    /// From the one to the other, or to now.
    pub duration_ms: u64,
    /// `running`; or with a verdict: `passed`, `excluded`, `failed`; or without one: `troubled` (passing trouble), `lost` (the
    /// runner fell silent), `returned` (it was restarted), `dropped` (the build ended first).
    pub how: &'static str,
    /// What the trouble was.
    pub reason: Option<String>,
    /// Path of its log, as text.
    pub log: String,
}

/// What follows the tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderView {
    /// `sign` or `release`.
    pub order: &'static str,
    /// As of a task.
    pub state: &'static str,
    /// Why, where that is not plain from the state.
    pub reason: Option<String>,
}

/// A file that a task handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArtifactView {
    /// Which task.
    pub task: TaskId,
    /// File name.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// Its bytes.
    pub digest: Digest,
    /// `name-[epoch:]version-release.arch`, where it is a package.
    pub nevra: Option<String>,
    /// The package's name, where it is one that people install.
    pub installs: Option<String>,
    /// Path to download it from.
    pub href: String,
}

impl BuildView {
    /// What is shown of a build at a time.
    pub fn of(build: &Build, now: Timestamp) -> Self {
        let announced = build.push.announced.clone();
        let generation = match &build.stage {
            Stage::Ended { end: End::Released { number, .. } } => Some(*number),
            Stage::Running | Stage::Signing { .. } | Stage::Releasing { .. } | Stage::Ended { .. } => None,
        };
        Self {
            id: build.id.clone(),
            push: announced.id,
            package: announced.package,
            platform: build.platform.name.clone(),
            commit: announced.commit,
            reference: announced.reference,
            subject: build.push.subject.clone(),
            pusher: announced.pusher,
            state: build.word(),
            reason: reason(build),
            created: build.created,
            ended: build.ended,
            duration_ms: build.ended.unwrap_or(now).since_ms(build.created),
            generation,
            tasks: build.tasks.iter().map(|task| TaskView::of(build, task, now)).collect(),
            orders: orders(build),
            artifacts: artifacts(build),
        }
    }

    /// Whether nothing more happens.
    pub const fn is_ended(&self) -> bool {
        self.ended.is_some()
    }
}

fn reason(build: &Build) -> Option<String> {
    match &build.stage {
        Stage::Ended { end: End::Cancelled { by } } => Some(format!("stopped by {by}")),
        Stage::Running | Stage::Signing { .. } | Stage::Releasing { .. } | Stage::Ended { .. } => build.reason().map(str::to_owned),
    }
}

impl TaskView {
    fn of(build: &Build, task: &Task, now: Timestamp) -> Self {
        let attempts = attempts(build, task, now);
        let latest = attempts.last();
        Self {
            task: task.id.clone(),
            plugin: build.step_of(&task.id).map(|step| step.plugin.clone()),
            state: task.word(),
            ready: build.ready().any(|ready| *ready == task.id),
            reason: task.reason().map(str::to_owned),
            blame: match &task.state {
                TaskState::Failed { failure } => Some(failure.blame),
                TaskState::Waiting
                | TaskState::Leased { .. }
                | TaskState::Passed { .. }
                | TaskState::Excluded { .. }
                | TaskState::Quarantined { .. }
                | TaskState::Dropped => None,
            },
            attempt: latest.map(|attempt| attempt.number),
            runner: latest.map(|attempt| attempt.runner.clone()),
            duration_ms: latest.map(|attempt| attempt.duration_ms),
            attempts,
        }
    }
}

fn attempts(build: &Build, task: &Task, now: Timestamp) -> Vec<AttemptView> {
    let log = |number| format!("/builds/{}/tasks/{}/log.txt?attempt={number}", build.id, task.id);
    let past = |attempt: &Attempt| {
        let (how, reason) = ending(attempt, task);
        AttemptView {
            number: attempt.number,
            runner: attempt.runner.clone(),
            began: attempt.began,
            ended: Some(attempt.ended),
            duration_ms: attempt.ended.since_ms(attempt.began),
            how,
            reason,
            log: log(attempt.number),
        }
    };
    let present = task.lease().map(|lease| AttemptView {
        number: lease.number,
        runner: lease.runner.clone(),
        began: lease.since,
        ended: None,
        duration_ms: now.since_ms(lease.since),
        how: "running",
        reason: None,
        log: log(lease.number),
    });
    task.attempts.iter().map(past).chain(present).collect()
}

/// How an attempt ended. A verdict ends the task as well, so the task knows which one it was.
fn ending(attempt: &Attempt, task: &Task) -> (&'static str, Option<String>) {
    match &attempt.end {
        AttemptEnd::Answered => (task.word(), None),
        AttemptEnd::Troubled { reason } => ("troubled", Some(reason.clone())),
        AttemptEnd::Lost => ("lost", None),
        AttemptEnd::Returned => ("returned", None),
        AttemptEnd::Dropped => ("dropped", None),
    }
}

/// How far signing and releasing are. A build whose tasks are all good can only have failed at one of the two, and its
/// reason begins with which.
fn orders(build: &Build) -> Vec<OrderView> {
    let all_good = build.tasks.iter().all(Task::is_good);
    let (sign, release) = match &build.stage {
        Stage::Running => ("waiting", "waiting"),
        Stage::Signing { .. } => ("running", "waiting"),
        Stage::Releasing { .. } => ("passed", "running"),
        Stage::Ended { end } => match end {
            End::Released { .. } => ("passed", "passed"),
            End::Passed | End::Excluded { .. } => ("excluded", "excluded"),
            End::Failed { reason } if all_good && reason.starts_with("release:") => ("passed", "failed"),
            End::Failed { .. } if all_good => ("failed", "dropped"),
            End::Failed { .. } | End::Cancelled { .. } => ("dropped", "dropped"),
        },
    };
    [("sign", sign), ("release", release)]
        .map(|(order, state)| OrderView { order, state, reason: order_reason(build, order, state) })
        .to_vec()
}

fn order_reason(build: &Build, order: &str, state: &str) -> Option<String> {
    match &build.stage {
        Stage::Ended { end: End::Failed { reason } } if state == "failed" => Some(reason.clone()),
        Stage::Ended { end: End::Released { number, .. } } if order == "release" => {
            Some(format!("in the repositories of {} since generation {number}", build.platform.name))
        }
        Stage::Ended { end: End::Passed } => Some("no step handed over packages to release".to_owned()),
        Stage::Ended { end: End::Excluded { .. } } => Some("nothing was built".to_owned()),
        Stage::Running | Stage::Signing { .. } | Stage::Releasing { .. } | Stage::Ended { .. } => None,
    }
}

fn artifacts(build: &Build) -> Vec<ArtifactView> {
    let all = || build.tasks.iter().flat_map(|task| task.artifacts().iter().map(move |artifact| (&task.id, artifact)));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, artifact) in all() {
        *seen.entry(&artifact.name).or_default() += 1;
    }
    let view = |(task, artifact): (&TaskId, &Artifact)| {
        // Two architectures may hand over files of one name; then the address says which.
        let alone = seen.get(artifact.name.as_str()) == Some(&1);
        let which = if alone { String::new() } else { format!("?task={}", segment(&task.to_string())) };
        let rpm = artifact.rpm.as_ref();
        ArtifactView {
            task: task.clone(),
            name: artifact.name.clone(),
            size: artifact.size,
            digest: artifact.digest,
            nevra: rpm.map(ToString::to_string),
            installs: rpm
                .filter(|rpm| rpm.kind() == Kind::Os && build.step_of(task).is_some_and(|step| step.releases))
                .map(|rpm| rpm.name.clone()),
            href: format!("/builds/{}/files/{}{which}", build.id, segment(&artifact.name)),
        }
    };
    all().map(view).collect()
}
