//! What somebody wants done again: tasks that failed, were quarantined, or were dropped when their build ended; and signing and releasing
//! where that was refused, given up, or waits.

use super::event::Refused;
use super::model::{Build, End, Stage};
use crate::Timestamp;
use crate::access::Actor;
use crate::task::{ATTEMPTS_MAX, Retried, Task, TaskId, TaskState};

impl Build {
    /// Lets a task be done again, or each that has no good result. Whatever passed or was excluded stays so, and so do all
    /// attempts and their logs. A build that had ended goes on: what was dropped with its end waits again, too.
    pub(super) fn retry(
        &mut self,
        wanted: Option<&TaskId>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), Refused> {
        if wanted.is_none() && self.retry_order() {
            return Ok(());
        }
        match self.stage {
            Stage::Running
            | Stage::Ended {
                end: End::Failed { .. } | End::Cancelled { .. },
            } => {}
            Stage::Signing { .. } | Stage::Releasing { .. } | Stage::Ended { .. } => {
                return Err(Refused::WrongStage(self.word().to_owned()));
            }
        }
        if let Some(id) = wanted {
            let task = self
                .task(id)
                .ok_or_else(|| Refused::UnknownTask(id.clone()))?;
            if !task.came_to_nothing() {
                return Err(Refused::NotFailed {
                    task: id.clone(),
                    word: task.word().to_owned(),
                });
            }
        }
        let is_meant = |task: &Task| {
            let is_wanted =
                matches!(task.state, TaskState::Dropped) || wanted.is_none_or(|id| *id == task.id);
            is_wanted && task.came_to_nothing()
        };
        if !self.tasks.iter().any(is_meant) {
            return Err(Refused::NothingFailed);
        }
        if let Some(spent) = self
            .tasks
            .iter()
            .find(|task| is_meant(task) && task.attempts.len() >= ATTEMPTS_MAX)
        {
            return Err(Refused::Spent(spent.id.clone()));
        }
        for task in self.tasks.iter_mut().filter(|task| is_meant(task)) {
            task.start_over(by, now);
        }
        self.stage = Stage::Running;
        self.ended = None;
        Ok(())
    }
}

impl Build {
    /// Lets packages be signed and released again whose tasks all passed, if that was refused or given up, or waits for something; false
    /// if there is no such order. Signing makes the same bytes again. What was taken back stays taken back: after a refusal, the order to
    /// release is another one.
    fn retry_order(&mut self) -> bool {
        let is_refused = match &self.stage {
            Stage::Ended {
                end: End::Failed { .. },
            } => true,
            Stage::Signing { .. } | Stage::Releasing { .. } if self.waits.is_some() => false,
            Stage::Running
            | Stage::Signing { .. }
            | Stage::Releasing { .. }
            | Stage::Ended { .. } => return false,
        };
        if !self.tasks.iter().all(Task::is_good) {
            return false;
        }
        self.order_retries += u32::from(is_refused);
        self.stage = Stage::Running;
        self.ended = None;
        self.waits = None;
        true
    }
}

impl Task {
    /// Whether it is over, and nothing that could be built on came of it.
    const fn came_to_nothing(&self) -> bool {
        self.is_settled() && !self.is_good()
    }

    /// Waits as if nobody had tried, though what was tried is kept.
    fn start_over(&mut self, by: &Actor, at: Timestamp) {
        self.state = TaskState::Waiting;
        // Who starts what nobody has tried since changes nothing, however often.
        if self.attempts.len() > self.attempts_before() {
            self.retried.push(Retried {
                by: by.clone(),
                at,
                attempts: self.attempts.len(),
            });
        }
    }

    /// Attempts that no longer count against it.
    pub(super) fn attempts_before(&self) -> usize {
        self.retried.last().map_or(0, |retried| retried.attempts)
    }
}
