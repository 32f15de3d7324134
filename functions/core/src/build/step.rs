//! What follows from an event.

use super::event::{Event, Refused};
use super::model::{Build, End, Stage};
use super::verdict::Accepts;
use crate::Timestamp;
use crate::access::Actor;
use crate::order::Effect;
use crate::task::{AttemptEnd, Task, TaskId, TaskState};
use std::collections::BTreeSet;

impl Build {
    /// What follows from an event at a time of the line's clock. Refused events leave the build as it was; the same event at
    /// the same state has the same effects.
    pub fn step(&mut self, event: Event, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        let ready_before: BTreeSet<TaskId> = self.ready().cloned().collect();
        let mut effects = self.happen(event, now)?;
        if matches!(self.stage, Stage::Running) {
            self.exclude_what_has_nothing_to_do();
            effects.extend(self.conclude(now));
        }
        let ready: Vec<TaskId> = self
            .ready()
            .filter(|task| !ready_before.contains(task))
            .cloned()
            .collect();
        effects.extend(ready.into_iter().map(|task| Effect::Ready {
            build: self.id.clone(),
            task,
        }));
        Ok(effects)
    }

    fn happen(&mut self, event: Event, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        match event {
            Event::Take {
                task,
                runner,
                machine,
            } => self.take(task, runner, &machine, now).map(|()| Vec::new()),
            Event::Renew { heard } => {
                self.renew(&heard, now);
                Ok(Vec::new())
            }
            Event::Silent { task, lease, since } => {
                self.silent(&task, lease, since).map(|()| Vec::new())
            }
            Event::Report {
                task,
                lease,
                outcome,
                roots,
            } => {
                let accepts = Accepts {
                    arch: task.arch,
                    multilib: self.platform.multilib,
                };
                self.task_mut(&task)?
                    .answer(lease, outcome, roots, accepts, now)
                    .map(|()| Vec::new())
            }
            Event::Return { runner } => {
                self.end_leases(AttemptEnd::Returned, now, |lease| lease.runner == runner);
                Ok(Vec::new())
            }
            Event::Tick => {
                self.begin_again_what_ends_too_late(now);
                // Leases that were not renewed in time are over, and so are pauses.
                self.end_leases(AttemptEnd::Lost, now, |lease| lease.until <= now);
                self.end_pauses(now);
                Ok(Vec::new())
            }
            Event::Cancel { by } => self.cancel(by, now),
            Event::Retry { task, by, hold_s } => {
                self.retry(task.as_ref(), &by, now)?;
                // Without a time of its own, the retry keeps that of the build.
                let options = &mut self.push.announced.options;
                options.hold_s = hold_s.or(options.hold_s);
                Ok(Vec::new())
            }
            Event::Signed { order, files } => self.signed(order, &files),
            Event::SignRefused { order, reason } => {
                self.order_refused(order, &format!("signing: {reason}"), now)
            }
            Event::OrderWaits { order, reason } => {
                self.order_waits(order, &reason, now).map(|()| Vec::new())
            }
            Event::Released {
                order,
                generation,
                number,
            } => self.released(order, generation, number, now),
            Event::ReleaseRefused { order, reason } => {
                self.order_refused(order, &format!("release: {reason}"), now)
            }
            Event::Outgrown { bytes, bytes_max } => self.outgrown(bytes, bytes_max, now),
        }
    }

    /// What a build that was just planned wants done at once.
    pub fn first_effects(&self) -> Vec<Effect> {
        self.ready()
            .map(|task| Effect::Ready {
                build: self.id.clone(),
                task: task.clone(),
            })
            .collect()
    }

    fn cancel(&mut self, by: Actor, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        match &self.stage {
            Stage::Running => Ok(self.end(End::Cancelled { by }, now)),
            // What is signed or released is decided; taking it back is a release of its own.
            Stage::Signing { .. } | Stage::Releasing { .. } => {
                Err(Refused::WrongStage(self.word().to_owned()))
            }
            Stage::Ended {
                end: End::Cancelled { .. },
            } => Err(Refused::Already),
            Stage::Ended { .. } => Err(Refused::WrongStage(self.word().to_owned())),
        }
    }

    /// A build that nobody can keep cannot go on. What it was before fits, and its end takes little.
    fn outgrown(
        &mut self,
        bytes: u64,
        bytes_max: u64,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        if self.is_ended() {
            return Err(Refused::WrongStage(self.word().to_owned()));
        }
        let reason = format!(
            "its record would have {bytes} bytes, and the line takes {bytes_max}: this many packages and steps do not fit one build; \
             split the package, or build it for fewer architectures in one platform"
        );
        Ok(self.end(End::Failed { reason }, now))
    }

    /// Ends the build: what runs is dropped, what waits will not run.
    pub(super) fn end(&mut self, end: End, now: Timestamp) -> Vec<Effect> {
        for task in self.tasks.iter_mut().filter(|task| !task.is_settled()) {
            if task.lease().is_some() {
                task.end_lease(AttemptEnd::Dropped, now);
            }
            task.state = TaskState::Dropped;
        }
        self.stage = Stage::Ended { end };
        self.waits = None;
        self.ended = Some(now);
        vec![Effect::Ended {
            build: self.id.clone(),
        }]
    }

    pub(super) fn task_mut(&mut self, id: &TaskId) -> Result<&mut Task, Refused> {
        self.tasks
            .iter_mut()
            .find(|task| task.id == *id)
            .ok_or_else(|| Refused::UnknownTask(id.clone()))
    }
}
