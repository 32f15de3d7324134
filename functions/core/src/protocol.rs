//! What runners and the lease desk say to each other, as JSON over HTTP. Runners dial out; the desk never calls them.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /runner/v1/lease` | [`Ask`] | 200 [`Offer`], or 204 if nothing came in time; its `Retry-After` says when to ask again; 410 if the runner is draining |
//! | `POST /runner/v1/renew` | [`Renewal`] | 200 [`Renewed`] |
//! | `POST /runner/v1/log?build=…&task=…&lease=…&offset=…` | bytes | 200 [`Logged`] |
//! | `POST /runner/v1/upload` | [`Upload`] | 200 [`UploadTarget`]; only for the holder of the lease |
//! | `PUT /runner/v1/blobs/<digest>?build=…&task=…&lease=…` | bytes | 201; only for the holder of the lease |
//! | `GET /runner/v1/blobs/<digest>` | | 200 bytes; 206 or 416 if it asks for one `Range`; 307 to where they lie |
//! | `POST /runner/v1/report` | [`Report`] | 200 |
//! | `POST /runner/v1/holds` | [`Attend`] | 200 [`Attended`], as soon as somebody wants something of a sandbox that is held |
//! | `POST /runner/v1/typed` | [`Listen`] | 200 [`Typing`], as soon as there is something new |
//! | `POST /runner/v1/printed` | [`Print`] | 200 [`Shown`] |
//!
//! Every request carries `Authorization: Bearer <token>`. A 401 means that the token is not known, a 409 that the lease is no
//! longer held (its body is a [`Problem`]): the runner drops the task and asks for another.

use crate::hold::{FailedCommand, Printed, Session, SessionEnd, Size, Typed};
use crate::platform::{Buildroot, Repository, SandboxOptions};
use crate::push::Commit;
use crate::queue::Capacity;
use crate::task::{Artifact, Lease, LeaseId, Outcome, TaskId};
use crate::{Arch, BuildId, Digest, PackageName, PlatformName, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest that the desk keeps a waiting runner on the line, in seconds: below the idle time-outs of proxies in use (60 s).
pub const WAIT_S_MAX: u32 = 30;

/// "Give me work."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub runner: RunnerName,
    /// What it can build.
    pub arch: Arch,
    /// What it can build besides, by emulation: many times slower, so such tasks come after those of its own architecture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emulates: Vec<Arch>,
    /// How long it would wait, in seconds; at most [`WAIT_S_MAX`].
    pub wait_s: u32,
    /// What its machine has now.
    #[serde(default, skip_serializing_if = "Capacity::is_unknown")]
    pub capacity: Capacity,
}

/// A lease and all that its task needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub lease: Lease,
    /// The line's clock now, so that the runner can count from it.
    pub now: Timestamp,
    pub work: Work,
    /// How often the line wants to hear that the task is being worked on, in seconds: as soon it learns that the task was cancelled.
    /// If the line does not say, three times in a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_s: Option<u32>,
}

/// A task, complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub build: BuildId,
    pub task: TaskId,
    pub package: PackageName,
    pub commit: Commit,
    /// The architecture of the root; if the task's step is done once, the runner's own.
    pub arch: Option<Arch>,
    pub platform: PlatformName,
    /// dnf's `releasever`.
    pub releasever: String,
    /// dnf's `module_platform_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_platform: Option<String>,
    pub macros: BTreeMap<String, String>,
    /// The commit's time, in seconds since 1970.
    pub source_date_epoch_s: u64,
    /// Path of the spec file in the tree.
    pub spec: String,
    /// Repositories that roots are made from, what the line released included.
    pub repositories: Vec<Repository>,
    /// What roots begin with.
    pub buildroot: Buildroot,
    /// What its commands may use up and touch.
    #[serde(flatten)]
    pub sandbox: SandboxOptions,
    /// A [`crate::roots::Lock`]: its roots must be exactly those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
    pub plugin: Digest,
    /// The plugin's name, for people.
    pub plugin_name: String,
    /// Files that it may ask for.
    pub inputs: Vec<Artifact>,
    pub config: BTreeMap<String, serde_json::Value>,
    /// For how long its sandbox is held if it fails, in seconds. A runner that does not know of it holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_s: Option<u32>,
}

/// "Still at it."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    #[serde(flatten)]
    pub lease_id: LeaseId,
    /// For how long the task has said nothing, in seconds, if that is half of what it may or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_s: Option<u32>,
}

/// "Still at it" was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// When the lease ends now.
    pub until: Timestamp,
    pub now: Timestamp,
    /// The runner must hand the task back, and leave.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hand_back: bool,
}

/// Bytes of a log were kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Bytes that the log has now.
    pub end: u64,
    /// How long the line wants to wait for the next of them, in seconds, if it does not leave that to the runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_s: Option<u32>,
}

/// "Where may I put this file?"
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    #[serde(rename = "holding")]
    pub lease_id: LeaseId,
    /// What the file is.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// Where a file goes that a runner hands in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "kebab-case")]
pub enum UploadTarget {
    /// Nowhere: the line has it already.
    Kept,
    /// To the desk, with `PUT /runner/v1/blobs/<digest>`.
    Desk,
    /// To another address, with PUT and these headers, and without the token. The address is good for a while: a runner that failed asks
    /// for another one.
    Address {
        /// With a signature in it: as secret as the file.
        url: String,
        headers: Vec<(String, String)>,
    },
}

/// The answer to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    #[serde(rename = "holding")]
    pub lease_id: LeaseId,
    /// What came of it.
    pub outcome: Outcome,
    /// What was in the roots that the task had ([`crate::roots::TaskRoots`] as JSON), handed in before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Digest>,
}

/// "These sandboxes I hold: does somebody want something of them?"
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attend {
    pub runner: RunnerName,
    /// It has just been started: whatever it held before is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Held>,
    /// What it has given up since it asked last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<GivenUp>,
    /// How long it would wait, in milliseconds; at most [`WAIT_S_MAX`].
    pub wait_ms: u32,
}

/// A sandbox that a runner holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    #[serde(flatten)]
    pub lease_id: LeaseId,
    /// What failed in it.
    pub failed: FailedCommand,
    /// The session that it knows of; 0 before the first. The line answers when there is another.
    pub session: u32,
}

/// A sandbox that a runner holds no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    #[serde(flatten)]
    pub lease_id: LeaseId,
    pub reason: String,
}

/// What is wanted of sandboxes that a runner holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attended {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<WantedSession>,
    /// To be given up at once, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwanted: Vec<GivenUp>,
    /// How long to wait before asking again, in milliseconds, if the line keeps nobody waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u32>,
}

/// Somebody who wants into a held sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedSession {
    #[serde(flatten)]
    pub lease_id: LeaseId,
    pub session: Session,
}

/// "What is typed in this session?"
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    #[serde(rename = "holding")]
    pub lease_id: LeaseId,
    pub session: u32,
    /// Bytes that the runner has by now.
    pub seen: u64,
    /// The size of the terminal that it knows of.
    pub size: Size,
    /// How long it would wait, in milliseconds; at most [`WAIT_S_MAX`].
    pub wait_ms: u32,
}

/// What is typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// All that the terminal says of itself, with the keys that the runner may have already.
    pub typed: Typed,
    /// The session is over for this reason, whatever was typed: let it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<SessionEnd>,
    /// How long to wait before asking again, in milliseconds, if the line keeps nobody waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u32>,
}

/// "This was printed in a session."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    #[serde(rename = "holding")]
    pub lease_id: LeaseId,
    pub session: u32,
    /// What was printed, how much was typed, and how it ended.
    pub printed: Printed,
}

/// How much of what was printed is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Bytes that the line has; the rest has no room yet.
    pub end: u64,
    /// The session is over, and nobody waits for more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
    /// How long to wait before the next, in milliseconds, where each is paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u32>,
}

/// Why a request was refused, for logs and people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// One word that programs may look at (`stale-lease`, `unknown-build`, `bad-request`).
    pub problem: String,
    /// A sentence: what is wrong and what to do.
    pub message: String,
}
