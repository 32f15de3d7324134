//! A command for the sandbox, and how it ends.

use super::view::View;
use millrace_core::platform::SandboxOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Longest plan, in bytes: its longest part is a command's argument, which may have 128 KiB (execve(2), MAX_ARG_STRLEN).
pub(super) const PLAN_BYTES_MAX: usize = 120 * 1024;

/// A command, and what it may see, touch and use up.
#[derive(Debug)]
pub struct Command<'a> {
    /// What it takes for the machine.
    pub view: View,
    /// Program and arguments; no shell in between.
    pub argv: Vec<String>,
    /// Added to a small clean environment.
    pub env: Vec<(String, String)>,
    /// Where it starts, as it sees it.
    pub cwd: String,
    pub stdin: Vec<u8>,
    /// How long it may take.
    pub timeout: Duration,
    /// As root of the sandbox, or as its ordinary user.
    pub as_root: bool,
    /// What it may use up and touch. The network is for our own use of the package manager, and for steps that a platform opens it for.
    pub options: SandboxOptions,
    /// The task's folder, `/work` in the sandbox; what lies beside it in its parent folder belongs to the task too.
    pub work: &'a Path,
    /// How much of standard output to hand back, in bytes.
    pub capture_bytes_max: usize,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEnd {
    Exited {
        /// 127 if there is no such program, 128 and the signal's number if a signal ended it.
        status: u8,
        /// The beginning of standard output.
        stdout: Vec<u8>,
        /// Whether there was more.
        cut: bool,
        /// In milliseconds.
        elapsed_ms: u64,
    },
    /// Stopped: it took too long.
    TimedOut,
    /// Stopped: all its processes together used too much memory.
    OutOfMemory,
    /// Stopped: it filled the task's folder.
    OutOfSpace,
    /// Stopped: it printed too much.
    OutputLimit,
    Cancelled,
}

/// The sandbox itself does not work: the machine's trouble, not the command's.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel, or this user, does not allow what it takes.
    #[error(
        "the sandbox cannot be set up: {0} (`millrace runner doctor` says what this machine lacks)"
    )]
    Setup(String),
    /// A command line that no program can be given.
    #[error("the command line has {0} bytes, at most {PLAN_BYTES_MAX} fit")]
    TooLong(usize),
    /// Somebody ended what had started the command, which has no verdict then.
    #[error("the sandbox was ended from outside, by signal {0}")]
    Ended(i32),
    #[error("the sandbox: {0}")]
    Io(#[from] io::Error),
}
