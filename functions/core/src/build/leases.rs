//! Tasks under a lease: how one is given, and how it ends.

use super::event::Refused;
use super::model::Build;
use super::verdict::{Accepts, Verdict, judge};
use crate::task::{
    ATTEMPTS_MAX, Attempt, AttemptEnd, LEASE_MS, LEASES_MAX, Lease, Outcome, RunnerProfile, Task,
    TaskId, TaskState, cut,
};
use crate::{Digest, LeaseNumber, RunnerName, Timestamp};

impl Build {
    pub(super) fn take(
        &mut self,
        id: TaskId,
        runner: RunnerName,
        machine: &RunnerProfile,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let task = self
            .task(&id)
            .ok_or_else(|| Refused::UnknownTask(id.clone()))?;
        let word = task.word().to_owned();
        if !self.ready().any(|ready| *ready == id) {
            return Err(Refused::NotReady { task: id, word });
        }
        if self.push.announced.options.not_by.get(&id) == Some(&runner) {
            return Err(Refused::NotBy { task: id, runner });
        }
        let number = task.next_number();
        let arch = machine.root_arch(id.arch, &self.platform.architectures);
        let emulated_on = (arch != machine.arch).then_some(machine.arch);
        let lease = Lease {
            number,
            runner,
            since: now,
            until: now.plus_ms(LEASE_MS),
            silent_since: None,
            emulated_on,
        };
        self.task_mut(&id)?.state = TaskState::Leased { lease };
        Ok(())
    }

    pub(super) fn silent(
        &mut self,
        id: &TaskId,
        number: LeaseNumber,
        since: Option<Timestamp>,
    ) -> Result<(), Refused> {
        let lease = self.task_mut(id)?.lease_mut(number)?;
        // When it was silent first is kept: a runner counts by a clock of its own.
        if lease.silent_since.is_some() == since.is_some() {
            return Err(Refused::Already);
        }
        lease.silent_since = since;
        Ok(())
    }

    /// Ends leases without a verdict.
    pub(super) fn end_leases(
        &mut self,
        end: AttemptEnd,
        now: Timestamp,
        over: impl Fn(&Lease) -> bool,
    ) {
        for task in &mut self.tasks {
            if task.lease().is_some_and(&over) {
                task.end_lease(end.clone(), now);
                task.wait_or_quarantine(None);
            }
        }
    }

    pub(super) fn end_pauses(&mut self, now: Timestamp) {
        for task in &mut self.tasks {
            if matches!(task.state, TaskState::Paused { until } if until <= now) {
                task.state = TaskState::Waiting;
            }
        }
    }
}

impl Task {
    pub(super) fn lease_mut(&mut self, number: LeaseNumber) -> Result<&mut Lease, Refused> {
        match &mut self.state {
            TaskState::Leased { lease } if lease.number == number => Ok(lease),
            _ => Err(Refused::StaleLease {
                task: self.id.clone(),
                given: number,
            }),
        }
    }

    /// Takes a runner's answer; the last answer said again is told apart from a stale one.
    pub(super) fn answer(
        &mut self,
        number: LeaseNumber,
        outcome: Outcome,
        roots: Option<Digest>,
        accepts: Accepts,
        now: Timestamp,
    ) -> Result<(), Refused> {
        if self.lease_mut(number).is_err() {
            let heard = |attempt: &Attempt| {
                attempt.number == number
                    && !matches!(
                        attempt.end,
                        AttemptEnd::Lost | AttemptEnd::Returned | AttemptEnd::Dropped
                    )
            };
            let again = self.lease().is_none() && self.attempts.last().is_some_and(heard);
            return Err(if again {
                Refused::Already
            } else {
                Refused::StaleLease {
                    task: self.id.clone(),
                    given: number,
                }
            });
        }
        match judge(outcome, accepts) {
            Verdict::Settled(state) => {
                self.end_lease(AttemptEnd::Answered, now);
                self.state = state;
            }
            Verdict::Trouble(reason) => {
                self.end_lease(AttemptEnd::Troubled { reason }, now);
                self.wait_or_quarantine(Some(now));
            }
            Verdict::HandedBack(reason) => {
                self.end_lease(AttemptEnd::HandedBack { reason }, now);
                self.wait_or_quarantine(None);
            }
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.roots = roots;
        }
        Ok(())
    }

    /// The lease, if there is one, becomes an attempt of the past; what the task is now is the caller's to say.
    pub(super) fn end_lease(&mut self, end: AttemptEnd, now: Timestamp) {
        if let Some(lease) = self.lease().cloned() {
            self.attempts.push(Attempt {
                number: lease.number,
                runner: lease.runner,
                began: lease.since,
                ended: now,
                end,
                emulated_on: lease.emulated_on,
                roots: None,
            });
        }
    }

    /// Leases that ended without a verdict, as far as they count against it.
    pub(super) fn in_vain(&self) -> usize {
        let counts = self.attempts.iter().skip(self.attempts_before());
        counts
            .filter(|attempt| !matches!(attempt.end, AttemptEnd::HandedBack { .. }))
            .count()
    }

    /// What a task does after a lease without a verdict: it waits for the next one, after a pause if the trouble may pass, or it
    /// has had as many as it may.
    fn wait_or_quarantine(&mut self, troubled: Option<Timestamp>) {
        if self.in_vain() < LEASES_MAX && self.attempts.len() < ATTEMPTS_MAX {
            self.state = match (troubled, self.pause_ms()) {
                (Some(now), Some(pause_ms)) => TaskState::Paused {
                    until: now.plus_ms(pause_ms),
                },
                (Some(_), None) | (None, _) => TaskState::Waiting,
            };
            return;
        }
        let tell = |attempt: &Attempt| match &attempt.end {
            AttemptEnd::Lost => format!("{} fell silent", attempt.runner),
            AttemptEnd::Returned => format!("{} came back without it", attempt.runner),
            AttemptEnd::Troubled { reason } => format!("{}: {reason}", attempt.runner),
            AttemptEnd::HandedBack { reason } => {
                format!("{} handed it back: {reason}", attempt.runner)
            }
            AttemptEnd::Answered | AttemptEnd::Dropped => attempt.runner.to_string(),
        };
        let history: Vec<String> = self
            .attempts
            .iter()
            .skip(self.attempts_before())
            .map(tell)
            .collect();
        let (leases, history) = (history.len(), history.join("; "));
        self.state = TaskState::Quarantined {
            reason: cut(&format!(
                "{leases} leases ended without a verdict: {history}"
            )),
        };
    }
}
