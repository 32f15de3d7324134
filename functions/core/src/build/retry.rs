//! Tasks that somebody wants done again: those that failed, those that were quarantined, and those that were dropped when their build
//! ended.

use super::{Build, End, Refused, Stage};
use crate::Timestamp;
use crate::task::{ATTEMPTS_MAX, Retried, Task, TaskId, TaskState};

impl Build {
    /// Lets a task be done again, or each that did not come to anything. Whatever passed or was excluded stays so, and so do all
    /// attempts and their logs. A build that had ended goes on: what was dropped with its end waits again, too.
    pub(super) fn retry(&mut self, wanted: Option<&TaskId>, by: &str, now: Timestamp) -> Result<(), Refused> {
        match self.stage {
            Stage::Running | Stage::Ended { end: End::Failed { .. } | End::Cancelled { .. } } => {}
            Stage::Signing { .. } | Stage::Releasing { .. } | Stage::Ended { .. } => {
                return Err(Refused::WrongStage(self.word().to_owned()));
            }
        }
        let chosen: Vec<usize> = match wanted {
            Some(id) => {
                let at = self.tasks.iter().position(|task| task.id == *id).ok_or_else(|| Refused::UnknownTask(id.clone()))?;
                if !self.tasks[at].came_to_nothing() {
                    return Err(Refused::NotFailed { task: id.clone(), word: self.tasks[at].word().to_owned() });
                }
                vec![at]
            }
            None => (0..self.tasks.len()).filter(|at| self.tasks[*at].came_to_nothing()).collect(),
        };
        if chosen.is_empty() {
            return Err(Refused::NothingFailed);
        }
        if let Some(spent) = chosen.iter().map(|at| &self.tasks[*at]).find(|task| task.attempts.len() >= ATTEMPTS_MAX) {
            return Err(Refused::Spent(spent.id.clone()));
        }
        for at in chosen {
            self.tasks[at].start_over(by, now);
        }
        for task in self.tasks.iter_mut().filter(|task| matches!(task.state, TaskState::Dropped)) {
            task.start_over(by, now);
        }
        self.stage = Stage::Running;
        self.ended = None;
        Ok(())
    }
}

impl Task {
    /// Whether it is over, and nothing that could be built on came of it.
    const fn came_to_nothing(&self) -> bool {
        self.is_settled() && !self.is_good()
    }

    /// Waits as if nobody had tried, though what was tried is kept.
    fn start_over(&mut self, by: &str, at: Timestamp) {
        self.state = TaskState::Waiting;
        // Who starts what nobody has tried since changes nothing, however often.
        if self.attempts.len() > self.attempts_before() {
            self.retried.push(Retried { by: by.to_owned(), at, attempts: self.attempts.len() });
        }
    }

    /// Attempts that no longer count against it.
    pub(super) fn attempts_before(&self) -> usize {
        self.retried.last().map_or(0, |retried| retried.attempts)
    }
}
