//! Why and that a task is to be given up, seen by everything that works on it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a task is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The runner is shutting down: the task goes back to the line at once.
    RunnerStops,
    /// The task's time is over.
    TimedOut,
    /// The task has said nothing for longer than it may.
    Silent,
    /// The line has given the task to somebody else, or ended it; nobody waits for an answer.
    LeaseLost(String),
}

/// Set once, by the thread that sees the reason first.
#[derive(Debug, Default)]
pub struct Stop {
    raised: AtomicBool,
    why: OnceLock<Why>,
}

impl Stop {
    /// Gives the task up. A second reason does not replace the first.
    pub fn raise(&self, why: Why) {
        let _ = self.why.set(why);
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Whether the task is given up.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Why, if it is.
    pub fn why(&self) -> Option<&Why> {
        self.why.get()
    }

    /// For those who only need to know that.
    pub const fn flag(&self) -> &AtomicBool {
        &self.raised
    }
}
