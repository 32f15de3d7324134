//! Looks after a command while it runs: what it prints, and the bounds that the kernel does not enforce by itself.

use super::cgroup::Cgroup;
use super::command::{Command, CommandEnd};
use super::disk::{self, DiskWatch};
use super::output::{CapturedOutput, OutputPiece};
use super::view::View;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How soon a cancelled, oversized or overdue command is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// Share of the disk bound, in percent, from which on a failed command is taken to have failed for want of space.
const FULL_PERCENT: u64 = 95;

/// Listens until both streams are closed, which they are when the last process is gone, or until the command must be stopped.
pub(super) fn attend(
    pieces: &Receiver<OutputPiece>,
    watch: &mut CommandWatch<'_>,
    heard: &mut CapturedOutput,
    output: &mut dyn FnMut(&[u8]),
) -> Option<CommandEnd> {
    let mut look = Instant::now();
    loop {
        match pieces.recv_timeout(LOOK) {
            Ok(piece) => heard.take(&piece, output),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if heard.bytes > watch.command.options.limits.log_bytes {
            return Some(CommandEnd::OutputLimit);
        }
        if look.elapsed() >= LOOK {
            look = Instant::now();
            if let Some(stop) = watch.look() {
                return Some(stop);
            }
        }
    }
}

/// Looks after the bounds that the kernel does not enforce by itself.
pub(super) struct CommandWatch<'a> {
    pub(super) command: &'a Command<'a>,
    pub(super) cgroup: &'a Cgroup,
    pub(super) cancelled: &'a AtomicBool,
    pub(super) until: Instant,
    pub(super) disk: DiskWatch,
}

impl CommandWatch<'_> {
    fn look(&mut self) -> Option<CommandEnd> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Some(CommandEnd::Cancelled);
        }
        if Instant::now() >= self.until {
            return Some(CommandEnd::TimedOut);
        }
        if self.cgroup.out_of_memory() {
            return Some(CommandEnd::OutOfMemory);
        }
        self.disk
            .is_over(&self.folders())
            .then_some(CommandEnd::OutOfSpace)
    }

    /// What the end of the command was really due to.
    pub(super) fn after(&self, success: bool) -> Option<CommandEnd> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Some(CommandEnd::Cancelled);
        }
        if self.cgroup.out_of_memory() {
            return Some(CommandEnd::OutOfMemory);
        }
        let used = || {
            self.folders()
                .iter()
                .map(|folder| disk::used(folder))
                .sum::<u64>()
        };
        let full = || used() >= self.command.options.limits.disk_bytes / 100 * FULL_PERCENT;
        (!success && full()).then_some(CommandEnd::OutOfSpace)
    }

    /// Where the command's files land: the task's folder, and what it changes of a root where that lies elsewhere.
    fn folders(&self) -> Vec<PathBuf> {
        let own = self.command.work.parent().unwrap_or(self.command.work);
        let elsewhere: Vec<PathBuf> = match &self.command.view {
            View::Root(overlay) => vec![overlay.upper.clone()],
            View::Host { root, writable, .. } => root
                .iter()
                .map(|(overlay, _)| overlay.upper.clone())
                .chain(writable.iter().cloned())
                .collect(),
            View::Machine => Vec::new(),
        };
        let apart = elsewhere
            .into_iter()
            .filter(|folder| !folder.starts_with(own));
        std::iter::once(own.to_owned()).chain(apart).collect()
    }
}
