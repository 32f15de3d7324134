//! What the threads of a session share: what is printed, how much was typed, and how it ends.

use millrace_core::hold::{SessionEnd, Size, Stream, Wants};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Most bytes printed that wait for the line here; a program that prints more waits.
const PRINTED_BYTES_MAX: usize = 64 * 1024;

/// How soon threads here see that something has changed.
pub(super) const LOOK: Duration = Duration::from_millis(50);

pub(super) struct SessionChannel {
    state: Mutex<ChannelState>,
    changed: Condvar,
    /// Raised when the command shall end.
    cancelled: AtomicBool,
    why: OnceLock<SessionEnd>,
}

#[derive(Default)]
pub(super) struct ChannelState {
    pub(super) output: Stream,
    /// How many bytes were typed.
    pub(super) typed: u64,
    pub(super) size: Size,
    pub(super) ended: Option<SessionEnd>,
}

impl SessionChannel {
    pub(super) fn new(wants: &Wants) -> Self {
        let size = match wants {
            Wants::Terminal { size, .. } => *size,
            Wants::Command { .. } => Size::default(),
        };
        let state = ChannelState {
            size,
            ..ChannelState::default()
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            cancelled: AtomicBool::new(false),
            why: OnceLock::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ChannelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a moment for another thread to change something.
    pub(super) fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, ChannelState>,
    ) -> MutexGuard<'a, ChannelState> {
        self.changed
            .wait_timeout(state, LOOK)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Changes something, and wakes the threads that wait for that.
    pub(super) fn change(&self, change: impl FnOnce(&mut ChannelState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Ends the command. The first word on why counts.
    pub(super) fn end(&self, why: SessionEnd) {
        let _ = self.why.set(why);
        self.cancelled.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    pub(super) const fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }

    pub(super) fn is_ending(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Says that the command has ended: as somebody wanted, or as it did by itself.
    pub(super) fn finish(&self, by_itself: SessionEnd) {
        let end = self.why.get().cloned().unwrap_or(by_itself);
        self.change(|state| state.ended = Some(end));
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// Adds to what was printed, as soon as there is room for it. What nobody waits for any more is lost.
    pub(super) fn print(&self, mut bytes: &[u8]) {
        let mut state = self.lock();
        while !bytes.is_empty() && !self.is_ending() {
            let room = PRINTED_BYTES_MAX.saturating_sub(state.output.bytes.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let from = state.output.end();
            state.output.add(from, now, PRINTED_BYTES_MAX);
            bytes = later;
            self.changed.notify_all();
            if !bytes.is_empty() {
                state = self.wait(state);
            }
        }
    }

    /// The same without waiting: if there is no room nobody reads, and what does not fit is lost.
    pub(super) fn print_now(&self, bytes: &[u8]) {
        self.change(|state| {
            let from = state.output.end();
            state.output.add(from, bytes, PRINTED_BYTES_MAX);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn who_prints_more_than_there_is_room_for_waits_and_loses_nothing() {
        let channel = Arc::new(SessionChannel::new(&Wants::Command { argv: Vec::new() }));
        let bytes: Vec<u8> = (0..PRINTED_BYTES_MAX * 3)
            .map(|at| (at % 251) as u8)
            .collect();
        let printer = channel.clone();
        let all = bytes.clone();
        let printing = std::thread::spawn(move || printer.print(&all));
        let mut read = Vec::new();
        while read.len() < bytes.len() {
            let mut state = channel.lock();
            assert!(state.output.bytes.len() <= PRINTED_BYTES_MAX);
            read.extend_from_slice(state.output.after(read.len() as u64));
            state.output.acknowledge(read.len() as u64);
            channel.changed.notify_all();
        }
        printing.join().unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn the_end_of_a_session_lets_go_of_whoever_still_prints() {
        let channel = Arc::new(SessionChannel::new(&Wants::Command { argv: Vec::new() }));
        let printer = channel.clone();
        let printing = std::thread::spawn(move || printer.print(&vec![0; PRINTED_BYTES_MAX * 2]));
        channel.end(SessionEnd::Left);
        channel.end(SessionEnd::Silent);
        printing.join().unwrap();
        assert_eq!(channel.why.get(), Some(&SessionEnd::Left));
    }
}
