//! Runners at their best and at their worst: what each has, and what it says next.

use millrace_core::protocol::Offer;
use millrace_tests::runner::{Runner, Script, TaskAnswer};

/// A runner, and the work that it has.
#[derive(Debug, Clone)]
pub struct SimulatedRunner {
    pub runner: Runner,
    /// What it works on.
    pub offer: Option<Offer>,
    /// What came of it: an answer whose receipt was lost is told again, and not thought over.
    pub answer: Option<TaskAnswer>,
    /// Whether it waits for the desk.
    pub busy: bool,
    /// Whether it goes away for good as soon as it has something.
    pub vanishes: bool,
}

impl SimulatedRunner {
    /// A runner that has nothing.
    pub fn new(runner: Runner, vanishes: bool) -> Self {
        Self {
            runner,
            offer: None,
            answer: None,
            busy: false,
            vanishes,
        }
    }

    /// The work is done, or lost.
    pub fn forget(&mut self) {
        self.offer = None;
        self.answer = None;
    }
}

/// What comes of a task.
pub fn script(chance: &mut fastrand::Rng, troubled: bool) -> Script {
    match chance.u8(0..30) {
        0 if troubled => Script::Fails("made up"),
        1 | 2 if troubled => Script::Troubled("made up"),
        3 if troubled => Script::Excludes("made up"),
        _ => Script::Passes,
    }
}
