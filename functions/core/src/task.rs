//! A task: a step of a build on an architecture, leased to one runner at a time.

use crate::access::Actor;
use crate::cause::Cause;
use crate::rpm::Rpm;
use crate::{Arch, BuildId, Digest, LeaseNumber, NameError, RunnerName, StepName, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A lease ends this long after its last renewal, in milliseconds. That is long enough for a host that swaps or a network that hiccups, and
/// short enough that what a dead runner had is another's within a minute, the line's next look at its clock included.
pub const LEASE_MS: u64 = 58_000;

/// Leases of a task that may end without a verdict before it is quarantined: one for a runner that died, one for the bad luck that the next
/// one dies too. A third points at the task.
pub const LEASES_MAX: usize = 3;

/// How long a task pauses after each lease that ended in passing trouble, in milliseconds: a mirror that restarts is back after half a
/// minute, and one that is being worked on after some. What is still so then is no passing trouble.
pub const PAUSES_MS: [u64; LEASES_MAX - 1] = [30_000, 300_000];

/// Most leases of a task that may end, those among them that were handed back and do not count against it. Runners are restarted for
/// an update now and then, not this often while one task runs, and each lease takes room in the build's record.
pub const ATTEMPTS_MAX: usize = 20;

/// Most artifacts that a task may hand over. Each takes about 260 bytes of its build's record, which must stay below 380 KiB with
/// those of all other tasks: glibc has 220 on each of four architectures, and fits.
pub const ARTIFACTS_MAX: usize = 400;

/// Longest reason or summary, in bytes; the log has the rest.
pub const REASON_BYTES_MAX: usize = 4096;

/// Which task of its build: `source`, or `rpm@x86_64`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    pub step: StepName,
    /// The architecture; none for a step that is done once.
    pub arch: Option<Arch>,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arch {
            None => self.step.fmt(f),
            Some(arch) => write!(f, "{}@{arch}", self.step),
        }
    }
}

impl FromStr for TaskId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (step, arch) = match text.split_once('@') {
            None => (text, None),
            Some((step, arch)) => (step, Some(arch)),
        };
        let wrong = |_| NameError {
            what: "task",
            name: text.chars().take(80).collect(),
        };
        Ok(Self {
            step: StepName::new(step)?,
            arch: arch.map(|arch| arch.parse().map_err(wrong)).transpose()?,
        })
    }
}

impl TryFrom<String> for TaskId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

/// Names a lease: the runner that works under it gives it with every request to the line. The leases of a task have different numbers, so
/// no two leases have the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseId {
    pub build: BuildId,
    pub task: TaskId,
    /// The number of the lease.
    #[serde(rename = "lease")]
    pub number: LeaseNumber,
}

/// A file that a task hands over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// File name without folders; a path relative to the tree for what a push brings.
    pub name: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// What its header says, if it is an RPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpm: Option<Rpm>,
}

/// Who must act on a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The package's author; trying again does not help.
    Package,
    /// The person who keeps the platform or the step's configuration.
    Configuration,
    /// Passing trouble of a machine or a network: another lease may help.
    Environment,
    Plugin,
}

/// Why a task failed, in words for the person who must act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub blame: Blame,
    /// One line or a few.
    pub reason: String,
    /// What kind of trouble it was, and where the log says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl Failure {
    /// A failure of which nothing is known but its reason.
    pub fn new(blame: Blame, reason: impl Into<String>) -> Self {
        Self {
            blame,
            reason: reason.into(),
            cause: None,
        }
    }
}

/// A runner's answer under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed {
        /// One line for people.
        summary: String,
        /// What it hands over.
        artifacts: Vec<Artifact>,
    },
    /// Nothing to do on this architecture.
    Excluded { reason: String },
    /// Not to be done, or not here.
    Failed(Failure),
    /// The runner leaves before it is done. Nothing is wrong with the task, and the lease does not count against it.
    HandedBack { reason: String },
}

/// The right to work on a task, and the duty to say so in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Tells this lease of the task from all others.
    pub number: LeaseNumber,
    pub runner: RunnerName,
    /// When it was given.
    pub since: Timestamp,
    /// When it ends unless it is renewed.
    pub until: Timestamp,
    /// Since when the task has said nothing, if that is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<Timestamp>,
    /// What the runner's machine is, if that runs the programs of the task by emulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulated_on: Option<Arch>,
}

/// What programs a runner's machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerProfile {
    /// Those of its own architecture.
    pub arch: Arch,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emulates: Vec<Arch>,
}

impl RunnerProfile {
    /// One that emulates nothing.
    pub const fn of(arch: Arch) -> Self {
        Self {
            arch,
            emulates: Vec::new(),
        }
    }

    /// The architecture of a task's root here: the task's. For one that is done once it is the machine's own, or if the platform is not
    /// for that one, and so may have no packages of it, one that the machine emulates.
    pub fn root_arch(&self, task: Option<Arch>, platform: &[Arch]) -> Arch {
        let own_first = || std::iter::once(self.arch).chain(self.emulates.iter().copied());
        task.or_else(|| own_first().find(|arch| platform.contains(arch)))
            .unwrap_or(self.arch)
    }
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum TaskState {
    /// Nobody works on it; whether somebody may depends on what it needs.
    Waiting,
    /// The last lease ended in trouble that may pass; until then nobody may take it.
    Paused {
        /// When it waits again.
        until: Timestamp,
    },
    /// A runner works on it.
    Leased { lease: Lease },
    Passed {
        /// One line for people.
        summary: String,
        /// What it handed over.
        artifacts: Vec<Artifact>,
    },
    /// Nothing to do on this architecture.
    Excluded { reason: String },
    /// It cannot be done.
    Failed {
        /// Why, and who must act.
        failure: Failure,
    },
    /// It took several runners down, or none could do it; it is not given out again.
    Quarantined {
        /// Its history in a sentence.
        reason: String,
    },
    /// The build ended before it was done.
    Dropped,
}

/// A lease that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub number: LeaseNumber,
    pub runner: RunnerName,
    /// When it was given.
    pub began: Timestamp,
    pub ended: Timestamp,
    pub end: AttemptEnd,
    /// What the runner's machine was, where that ran the programs of the task by emulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulated_on: Option<Arch>,
    /// What was in its roots ([`crate::roots::TaskRoots`] as JSON), if it had some and could say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Digest>,
}

/// How a lease ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum AttemptEnd {
    /// With a verdict: passed, excluded, or failed for good.
    Answered,
    /// With passing trouble, in these words.
    Troubled { reason: String },
    /// The runner was silent for too long.
    Lost,
    /// The runner asked for other work: it was restarted in between.
    Returned,
    /// The runner left, and said so.
    HandedBack { reason: String },
    /// The build ended first.
    Dropped,
}

/// "Do it again."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    pub by: Actor,
    pub at: Timestamp,
    /// Attempts before it, which no longer count against the task.
    pub attempts: usize,
}

/// A task of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Which of its build.
    pub id: TaskId,
    /// How far it is.
    #[serde(flatten)]
    pub state: TaskState,
    /// Leases that have ended, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// When somebody wanted it done again, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried: Vec<Retried>,
}

impl Task {
    /// A task that nobody has worked on.
    pub const fn new(id: TaskId) -> Self {
        Self {
            id,
            state: TaskState::Waiting,
            attempts: Vec::new(),
            retried: Vec::new(),
        }
    }

    /// Whether nothing will happen to it any more.
    pub const fn is_settled(&self) -> bool {
        match self.state {
            TaskState::Waiting | TaskState::Paused { .. } | TaskState::Leased { .. } => false,
            TaskState::Passed { .. }
            | TaskState::Excluded { .. }
            | TaskState::Failed { .. }
            | TaskState::Quarantined { .. }
            | TaskState::Dropped => true,
        }
    }

    /// Whether it is settled, and tasks that need it may run.
    pub const fn is_good(&self) -> bool {
        matches!(
            self.state,
            TaskState::Passed { .. } | TaskState::Excluded { .. }
        )
    }

    /// What it handed over so far.
    pub fn artifacts(&self) -> &[Artifact] {
        match &self.state {
            TaskState::Passed { artifacts, .. } => artifacts,
            TaskState::Waiting
            | TaskState::Paused { .. }
            | TaskState::Leased { .. }
            | TaskState::Excluded { .. }
            | TaskState::Failed { .. }
            | TaskState::Quarantined { .. }
            | TaskState::Dropped => &[],
        }
    }

    /// The lease it has now.
    pub const fn lease(&self) -> Option<&Lease> {
        match &self.state {
            TaskState::Leased { lease } => Some(lease),
            _ => None,
        }
    }

    /// The number that its next lease gets.
    pub fn next_number(&self) -> LeaseNumber {
        let last = self
            .lease()
            .map(|lease| lease.number)
            .or_else(|| self.attempts.last().map(|attempt| attempt.number));
        LeaseNumber(last.map_or(1, |number| number.0.saturating_add(1)))
    }

    /// When its last lease began and, if it has ended, when that was.
    pub fn times(&self) -> Option<(Timestamp, Option<Timestamp>)> {
        match (self.lease(), self.attempts.last()) {
            (Some(lease), _) => Some((lease.since, None)),
            (None, Some(attempt)) => Some((attempt.began, Some(attempt.ended))),
            (None, None) => None,
        }
    }

    /// The number of its latest lease, whose log people want to see.
    pub fn latest_number(&self) -> Option<LeaseNumber> {
        self.lease()
            .map(|lease| lease.number)
            .or_else(|| self.attempts.last().map(|attempt| attempt.number))
    }

    /// What kind of trouble it had, if that is known.
    pub const fn cause(&self) -> Option<&Cause> {
        match &self.state {
            TaskState::Failed { failure } => failure.cause.as_ref(),
            _ => None,
        }
    }

    /// One word for how far it is.
    pub const fn word(&self) -> &'static str {
        match &self.state {
            TaskState::Waiting => "waiting",
            TaskState::Paused { .. } => "paused",
            TaskState::Leased {
                lease:
                    Lease {
                        silent_since: Some(_),
                        ..
                    },
            } => "stalled",
            TaskState::Leased { .. } => "running",
            TaskState::Passed { .. } => "passed",
            TaskState::Excluded { .. } => "excluded",
            TaskState::Failed { .. } => "failed",
            TaskState::Quarantined { .. } => "quarantined",
            TaskState::Dropped => "dropped",
        }
    }

    /// Why it is where it is, if that is not plain from the word.
    pub fn reason(&self) -> Option<&str> {
        match &self.state {
            TaskState::Waiting | TaskState::Leased { .. } | TaskState::Dropped => None,
            TaskState::Paused { .. } => match self.attempts.last().map(|attempt| &attempt.end) {
                Some(AttemptEnd::Troubled { reason }) => Some(reason),
                _ => None,
            },
            TaskState::Passed { summary, .. } => Some(summary),
            TaskState::Excluded { reason } | TaskState::Quarantined { reason } => Some(reason),
            TaskState::Failed { failure } => Some(&failure.reason),
        }
    }
}

/// A text cut to [`REASON_BYTES_MAX`], at a character's end.
pub fn cut(text: &str) -> String {
    if text.len() <= REASON_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=REASON_BYTES_MAX)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{} …", &text[..end])
}
