//! The pipeline of a build as it is shown: its tasks, then signing and release.

use crate::time::{rfc3339, rfc3339_or_null};
use millrace_core::build::{Build, End, Stage};
use millrace_core::cause::Cause;
use millrace_core::hold::Hold;
use millrace_core::order::OrderId;
use millrace_core::task::{Attempt, AttemptEnd, Blame, Task, TaskState};
use millrace_core::{Arch, LeaseNumber, PluginName, RunnerName, Timestamp};
use serde::Serialize;

/// A step of a build: a task on a runner, or an order to the signer or the releaser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskView {
    /// `source`, `rpm@x86_64`, `sign`, `release`.
    pub task: String,
    /// Who does it. A platform may name a step `sign`, so the name does not tell.
    pub kind: TaskKind,
    /// `source`, `rpm`, `sign`, `release`.
    pub step: String,
    /// Where, for a step that is done on several.
    pub arch: Option<Arch>,
    /// The plugin that does it.
    pub plugin: Option<PluginName>,
    /// `waiting`, `paused` (after a temporary failure), `running`, `stalled` (it runs and says nothing), `passed`, `excluded`, `failed`, `quarantined` or `dropped`.
    pub state: &'static str,
    /// Whether it waits for nothing but a runner.
    pub ready: bool,
    /// Its result, in words.
    pub reason: Option<String>,
    /// Who must act if it failed: `package`, `configuration`, `environment` or `plugin`.
    pub blame: Option<Blame>,
    /// The kind of failure, and the line of its log that says so.
    pub cause: Option<Cause>,
    /// Since when it has printed nothing, if it runs and that is long.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub silent_since: Option<Timestamp>,
    /// Who retried it, and when.
    pub retried: Vec<RetriedView>,
    /// The order to the signer or the releaser, while the build's record has it.
    pub order: Option<OrderId>,
    /// Number of its latest attempt.
    pub attempt: Option<LeaseNumber>,
    pub runner: Option<RunnerName>,
    /// How long it took, or has been running.
    pub duration_ms: Option<u64>,
    /// The sandbox in which it failed, if that is held for its author.
    pub held: Option<HeldView>,
    /// All of them, in order; the one that runs is the last.
    pub attempts: Vec<AttemptView>,
}

/// A sandbox that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldView {
    /// When it ends at the latest.
    #[serde(serialize_with = "rfc3339")]
    pub until: Timestamp,
    pub runner: RunnerName,
    /// Who is in it now.
    pub by: Option<String>,
    /// How many times somebody was let in, of which at most twenty are counted.
    pub sessions: usize,
    /// The command that gives a terminal in it.
    pub command: String,
}

impl HeldView {
    fn of(hold: &Hold, now: Timestamp) -> Option<Self> {
        let held = || Self {
            until: hold.until,
            runner: hold.runner.clone(),
            by: hold.session().map(|session| session.by.to_string()),
            sessions: hold.sessions.len(),
            command: format!(
                "millrace shell {} {}",
                hold.lease_id.build, hold.lease_id.task
            ),
        };
        hold.over(now).is_none().then(held)
    }
}

/// A retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetriedView {
    /// Who asked for it.
    pub by: String,
    #[serde(serialize_with = "rfc3339")]
    pub at: Timestamp,
}

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    Task,
    Sign,
    Release,
}

/// An attempt at a task: one lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    pub number: LeaseNumber,
    /// Who has or had it.
    pub runner: RunnerName,
    /// The architecture of the runner, if it emulates that of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulated_on: Option<Arch>,
    /// When it was given.
    #[serde(serialize_with = "rfc3339")]
    pub began: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub ended: Option<Timestamp>,
    /// From the one to the other, or to now.
    pub duration_ms: u64,
    /// `running`; or with a verdict: `passed`, `excluded`, `failed`; or without one: `troubled` (a temporary failure), `lost` (the
    /// runner fell silent), `returned` (it was restarted), `handed-back` (it left, and said so), `dropped` (the build ended first).
    pub how: &'static str,
    pub reason: Option<String>,
    /// Path of its log, as text.
    pub log: String,
    /// Path of the page of what was in its roots, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
}

/// All of it, in the order in which it is done.
pub(crate) fn pipeline(build: &Build, now: Timestamp) -> Vec<TaskView> {
    let tasks = build
        .tasks
        .iter()
        .map(|task| TaskView::of_task(build, task, now));
    tasks.chain(orders(build)).collect()
}

impl TaskView {
    /// Adds its held sandbox, if there is one.
    pub(crate) fn see_hold(&mut self, holds: &[Hold], now: Timestamp) {
        let own = holds
            .iter()
            .find(|hold| hold.lease_id.task.to_string() == self.task);
        self.held = own.and_then(|hold| HeldView::of(hold, now));
    }

    /// Whether it is why the build failed.
    pub fn is_trouble(&self) -> bool {
        matches!(self.state, "failed" | "quarantined")
    }

    fn of_task(build: &Build, task: &Task, now: Timestamp) -> Self {
        let attempts = attempts(build, task, now);
        let latest = attempts.last();
        Self {
            task: task.id.to_string(),
            kind: TaskKind::Task,
            step: task.id.step.to_string(),
            arch: task.id.arch,
            plugin: build.step_of(&task.id).map(|step| step.plugin.clone()),
            state: task.word(),
            ready: build.ready().any(|ready| *ready == task.id),
            reason: task.reason().map(str::to_owned),
            blame: blame(task),
            cause: task.cause().cloned(),
            silent_since: task.lease().and_then(|lease| lease.silent_since),
            retried: task
                .retried
                .iter()
                .map(|retried| RetriedView {
                    by: retried.by.to_string(),
                    at: retried.at,
                })
                .collect(),
            order: None,
            attempt: latest.map(|attempt| attempt.number),
            runner: latest.map(|attempt| attempt.runner.clone()),
            duration_ms: latest.map(|attempt| attempt.duration_ms),
            held: None,
            attempts,
        }
    }

    fn of_order(
        name: &str,
        kind: TaskKind,
        state: &'static str,
        order: Option<OrderId>,
        reason: Option<String>,
    ) -> Self {
        Self {
            task: name.to_owned(),
            kind,
            step: name.to_owned(),
            arch: None,
            plugin: None,
            state,
            ready: false,
            reason,
            blame: None,
            cause: None,
            silent_since: None,
            retried: Vec::new(),
            order,
            attempt: None,
            runner: None,
            duration_ms: None,
            held: None,
            attempts: Vec::new(),
        }
    }
}

const fn blame(task: &Task) -> Option<Blame> {
    match &task.state {
        TaskState::Failed { failure } => Some(failure.blame),
        TaskState::Waiting
        | TaskState::Paused { .. }
        | TaskState::Leased { .. }
        | TaskState::Passed { .. }
        | TaskState::Excluded { .. }
        | TaskState::Quarantined { .. }
        | TaskState::Dropped => None,
    }
}

fn attempts(build: &Build, task: &Task, now: Timestamp) -> Vec<AttemptView> {
    let log = |number| {
        format!(
            "/builds/{}/tasks/{}/log.txt?attempt={number}",
            build.id, task.id
        )
    };
    let past = |attempt: &Attempt| {
        let (how, reason) = ending(attempt, task);
        AttemptView {
            number: attempt.number,
            runner: attempt.runner.clone(),
            emulated_on: attempt.emulated_on,
            began: attempt.began,
            ended: Some(attempt.ended),
            duration_ms: attempt.ended.since_ms(attempt.began),
            how,
            reason,
            log: log(attempt.number),
            roots: attempt.roots.map(|_| {
                format!(
                    "/builds/{}/tasks/{}/roots?attempt={}",
                    build.id, task.id, attempt.number
                )
            }),
        }
    };
    let present = task.lease().map(|lease| AttemptView {
        number: lease.number,
        runner: lease.runner.clone(),
        emulated_on: lease.emulated_on,
        began: lease.since,
        ended: None,
        duration_ms: now.since_ms(lease.since),
        how: "running",
        reason: None,
        log: log(lease.number),
        roots: None,
    });
    task.attempts.iter().map(past).chain(present).collect()
}

/// How an attempt ended. A verdict ends the task as well, so the task knows which one it was; one after which it was done again can only
/// have been that it failed.
fn ending(attempt: &Attempt, task: &Task) -> (&'static str, Option<String>) {
    let is_last = task.is_settled() && task.latest_number() == Some(attempt.number);
    match &attempt.end {
        AttemptEnd::Answered if !is_last => ("failed", None),
        AttemptEnd::Answered => (task.word(), None),
        AttemptEnd::Troubled { reason } => ("troubled", Some(reason.clone())),
        AttemptEnd::Lost => ("lost", None),
        AttemptEnd::Returned => ("returned", None),
        AttemptEnd::HandedBack { reason } => ("handed-back", Some(reason.clone())),
        AttemptEnd::Dropped => ("dropped", None),
    }
}

/// How far signing and releasing are.
fn orders(build: &Build) -> [TaskView; 2] {
    let sign =
        |state, order, reason| TaskView::of_order("sign", TaskKind::Sign, state, order, reason);
    let release = |state, order, reason| {
        TaskView::of_order("release", TaskKind::Release, state, order, reason)
    };
    let key = &build.platform.key;
    match &build.stage {
        Stage::Running => [sign("waiting", None, None), release("waiting", None, None)],
        Stage::Signing { order } => {
            let what = format!("{} with the key {key}", packages(build.releasable().len()));
            [
                sign("running", Some(*order), Some(what)),
                release("waiting", None, None),
            ]
        }
        Stage::Releasing { order } => {
            let files = packages(build.releasable().len());
            let signed = format!("{files} with the key {key}");
            let what = format!("{files} into the repositories of {}", build.platform.name);
            [
                sign("passed", None, Some(signed)),
                release("running", Some(*order), Some(what)),
            ]
        }
        Stage::Ended {
            end: End::Released { order, number, .. },
        } => {
            let where_to = format!(
                "in the repositories of {} since generation {number}",
                build.platform.name
            );
            [
                sign("passed", None, Some(format!("with the key {key}"))),
                release("passed", Some(*order), Some(where_to)),
            ]
        }
        Stage::Ended { end: End::Passed } => {
            let why = || Some("no step handed over packages to release".to_owned());
            [
                sign("excluded", None, why()),
                release("excluded", None, why()),
            ]
        }
        Stage::Ended {
            end: End::Excluded { .. },
        } => {
            let why = || Some("nothing was built".to_owned());
            [
                sign("excluded", None, why()),
                release("excluded", None, why()),
            ]
        }
        // A build whose tasks are all good can only have failed at one of the two, and its reason begins with which.
        Stage::Ended {
            end: End::Failed { reason },
        } if build.tasks.iter().all(Task::is_good) => match reason.strip_prefix("release: ") {
            Some(why) => [
                sign("passed", None, None),
                release("failed", None, Some(why.to_owned())),
            ],
            None => {
                let why = reason.strip_prefix("signing: ").unwrap_or(reason);
                [
                    sign("failed", None, Some(why.to_owned())),
                    release("dropped", None, None),
                ]
            }
        },
        Stage::Ended {
            end: End::Failed { .. } | End::Cancelled { .. },
        } => [sign("dropped", None, None), release("dropped", None, None)],
    }
}

fn packages(count: usize) -> String {
    if count == 1 {
        "1 package".to_owned()
    } else {
        format!("{count} packages")
    }
}
