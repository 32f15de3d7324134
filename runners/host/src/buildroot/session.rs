//! What making and changing roots may use up, and who hears of it.

use crate::sandbox::{Command, View};
use millrace_core::platform::{Limits, SandboxOptions};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What making and changing roots may use up, and who hears of it.
pub struct RootSession<'a> {
    /// The task's folder, as `/work` in the sandbox.
    pub work: &'a Path,
    /// Bounds of the task.
    pub limits: Limits,
    /// How long the task may still take.
    pub time_left: Duration,
    /// Whether the task was given up.
    pub cancelled: &'a AtomicBool,
    pub output: &'a mut dyn FnMut(&[u8]),
}

impl<'a> RootSession<'a> {
    /// A command as root of a sandbox, at the top of what it sees, without a network.
    pub(super) fn command(&self, view: View, argv: Vec<String>) -> Command<'a> {
        Command {
            view,
            argv,
            env: Vec::new(),
            cwd: "/".to_owned(),
            stdin: Vec::new(),
            timeout: self.time_left,
            as_root: true,
            options: SandboxOptions {
                limits: self.limits,
                ..SandboxOptions::default()
            },
            work: self.work,
            capture_bytes_max: 0,
        }
    }

    /// The same with another bound on the disk: for what is made for other tasks too.
    pub(super) fn with_disk(&mut self, disk_bytes: u64) -> RootSession<'_> {
        RootSession {
            work: self.work,
            limits: Limits {
                disk_bytes,
                ..self.limits
            },
            time_left: self.time_left,
            cancelled: self.cancelled,
            output: &mut *self.output,
        }
    }

    /// Writes a line into the task's log.
    pub(super) fn say(&mut self, line: &str) {
        (self.output)(format!("{line}\n").as_bytes());
    }
}
