//! What can happen to a build, and why it does not.

use crate::access::Actor;
use crate::order::{OrderId, SignedFile};
use crate::task::{ATTEMPTS_MAX, Outcome, RunnerProfile, TaskId};
use crate::{Digest, LeaseNumber, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};

/// Everything that can happen to a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A runner takes a task.
    Take {
        task: TaskId,
        runner: RunnerName,
        machine: RunnerProfile,
    },
    /// Runners were heard of since their leases were written down: they are still at it. What is said of leases that are over changes
    /// nothing.
    Renew {
        /// The latest of each.
        heard: Vec<LeaseRenewal>,
    },
    /// A task has said nothing for long, or speaks again.
    Silent {
        task: TaskId,
        lease: LeaseNumber,
        /// Since when; none if it speaks again.
        since: Option<Timestamp>,
    },
    Report {
        task: TaskId,
        lease: LeaseNumber,
        /// What came of it.
        outcome: Outcome,
        /// What was in its roots.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        roots: Option<Digest>,
    },
    /// A runner asks for work: whatever it had, it has no more. It was restarted, or an answer to it was lost on the way.
    Return {
        runner: RunnerName,
    },
    Tick,
    /// Somebody stops the build.
    Cancel {
        by: Actor,
    },
    /// Somebody wants tasks done again that ended without a good result.
    Retry {
        /// Which; none means all of them.
        task: Option<TaskId>,
        by: Actor,
        /// For how long the sandbox of one that fails again is held, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_s: Option<u32>,
    },
    /// The signer did as ordered.
    Signed {
        order: OrderId,
        /// What it made, in the order of the order.
        files: Vec<SignedFile>,
    },
    /// The signer will not.
    SignRefused {
        order: OrderId,
        reason: String,
    },
    /// The signer or the releaser cannot do as ordered yet, and tries again.
    OrderWaits {
        order: OrderId,
        reason: String,
    },
    /// The releaser did as ordered.
    Released {
        order: OrderId,
        /// The generation that has the packages.
        generation: Digest,
        number: u64,
    },
    /// The releaser will not.
    ReleaseRefused {
        order: OrderId,
        reason: String,
    },
    /// No store takes the build as it would be after what was to happen to it.
    Outgrown {
        /// Its size in bytes of JSON.
        bytes: u64,
        /// The most that is taken.
        bytes_max: u64,
    },
}

/// "Still at it", under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRenewal {
    pub task: TaskId,
    pub lease: LeaseNumber,
    pub at: Timestamp,
}

/// An event that does not count; the build is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has happened before. Who says it again need do nothing.
    #[error("that has happened already")]
    Already,
    /// The build has no such task.
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    /// The task is leased or done, or what it needs is not done yet.
    #[error("task {task} is {word} and cannot be leased")]
    NotReady {
        task: TaskId,
        /// How far it is.
        word: String,
    },
    /// The task checks whether another runner makes the same files.
    #[error("task {task} needs another runner than {runner}, which did it the first time")]
    NotBy { task: TaskId, runner: RunnerName },
    /// Another runner may have the task. The one that spoke must drop it.
    #[error("lease {given} of task {task} is over")]
    StaleLease {
        task: TaskId,
        /// The number that was given.
        given: LeaseNumber,
    },
    /// Only a task without a result is tried again.
    #[error(
        "task {task} is {word}: only a task that failed, was quarantined or was dropped can be retried"
    )]
    NotFailed {
        task: TaskId,
        /// How far it is.
        word: String,
    },
    #[error(
        "no task of the build failed, was quarantined or was dropped, and no order of it was refused: push again for a new build"
    )]
    NothingFailed,
    /// The build's record has no room for more attempts.
    #[error(
        "task {0} was tried {ATTEMPTS_MAX} times, the most that a build takes: push again for a new build"
    )]
    Spent(TaskId),
    /// The build has ended, or is not that far.
    #[error("the build is {0}, and this cannot happen then")]
    WrongStage(String),
    /// The build waits for the answer to another order.
    #[error("order {given} is not the one that the build waits for")]
    WrongOrder { given: OrderId },
    /// The answer does not fit the order.
    #[error("the answer to order {order} does not fit: {problem}")]
    WrongAnswer {
        order: OrderId,
        /// What does not fit.
        problem: String,
    },
}
