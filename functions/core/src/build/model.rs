//! What a build is, and how far it is.

use crate::access::Actor;
use crate::order::OrderId;
use crate::platform::{Limits, Platform, Step};
use crate::push::Push;
use crate::queue::Rank;
use crate::sources::TREE_ARTIFACT;
use crate::task::{Artifact, Task, TaskId, TaskState};
use crate::{BuildId, Digest, PluginName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One package at one commit on one platform, from plan to release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    pub id: BuildId,
    pub push: Push,
    /// Where, as it was when the build was planned, with the package's own steps.
    pub platform: Platform,
    /// The plugins as they were then.
    pub plugins: BTreeMap<PluginName, Digest>,
    /// In the order of the steps, and of the platform's architectures.
    pub tasks: Vec<Task>,
    /// How far it is.
    pub stage: Stage,
    /// When it was planned.
    pub created: Timestamp,
    pub ended: Option<Timestamp>,
    /// Where it stands among others that wait.
    #[serde(default)]
    pub rank: Rank,
    /// Why its order is not carried out yet, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<OrderWait>,
    /// How often its packages were ordered to be signed and released again, after that was refused or given up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub order_retries: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Trouble with an order that may pass: a key that is missing, a store that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderWait {
    pub since: Timestamp,
    /// What it is, and who must act if it does not pass.
    pub reason: String,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// Tasks wait or run.
    Running,
    /// All tasks are done; the signer has its order.
    Signing {
        /// Which. What it says is kept with the line's orders.
        order: OrderId,
    },
    /// All packages are signed; the releaser has its order.
    Releasing {
        /// Which. What it says is kept with the line's orders.
        order: OrderId,
    },
    Ended {
        end: End,
    },
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// Its packages are in the platform's repositories.
    Released {
        order: OrderId,
        /// The generation of the repositories that first had them.
        generation: Digest,
        number: u64,
    },
    /// All tasks passed and the platform releases nothing.
    Passed,
    /// No architecture of the platform builds it.
    Excluded {
        reason: String,
    },
    /// It did not work out.
    Failed {
        /// Why, for the person who must act.
        reason: String,
    },
    Cancelled {
        by: Actor,
    },
}

impl Build {
    /// One of its tasks.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == *id)
    }

    /// The step that a task belongs to.
    pub fn step_of(&self, id: &TaskId) -> Option<&Step> {
        self.platform.steps.iter().find(|step| step.name == id.step)
    }

    /// One word for how far it is.
    pub const fn word(&self) -> &'static str {
        match &self.stage {
            Stage::Running => "running",
            Stage::Signing { .. } => "signing",
            Stage::Releasing { .. } => "releasing",
            Stage::Ended { end } => match end {
                End::Released { .. } => "released",
                End::Passed => "passed",
                End::Excluded { .. } => "excluded",
                End::Failed { .. } => "failed",
                End::Cancelled { .. } => "cancelled",
            },
        }
    }

    /// Why it ended as it did, if that is not plain from the word.
    pub fn reason(&self) -> Option<&str> {
        match &self.stage {
            Stage::Ended {
                end: End::Failed { reason } | End::Excluded { reason },
            } => Some(reason),
            Stage::Ended {
                end: End::Cancelled { by },
            } => Some(by.name()),
            Stage::Signing { .. } | Stage::Releasing { .. } => {
                self.waits.as_ref().map(|waits| waits.reason.as_str())
            }
            Stage::Running
            | Stage::Ended {
                end: End::Released { .. } | End::Passed,
            } => None,
        }
    }

    /// Whether nothing more happens.
    pub const fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. })
    }

    /// The earliest end of a lease or a pause, when time alone decides something.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let ends = |task: &Task| match &task.state {
            TaskState::Leased { lease } => Some(lease.until),
            TaskState::Paused { until } => Some(*until),
            TaskState::Waiting
            | TaskState::Passed { .. }
            | TaskState::Excluded { .. }
            | TaskState::Failed { .. }
            | TaskState::Quarantined { .. }
            | TaskState::Dropped => None,
        };
        self.tasks.iter().filter_map(ends).min()
    }

    /// The bounds of a task: its step's own if it has some, and the platform's.
    pub fn limits_of(&self, id: &TaskId) -> Limits {
        let own = self
            .step_of(id)
            .and_then(|step| step.limits)
            .unwrap_or_default();
        own.over(self.platform.limits)
    }

    /// The commit's tree, as an artifact.
    pub(super) fn tree(&self) -> Artifact {
        Artifact {
            name: TREE_ARTIFACT.to_owned(),
            digest: self.push.tree,
            size: self.push.tree_bytes,
            rpm: None,
        }
    }
}
