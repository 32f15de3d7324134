//! Orders of a build to the signer and the releaser, and their answers.

use super::event::Refused;
use super::model::{Build, End, OrderWait, Stage};
use crate::order::{Effect, OrderId, OrderedFile, ReleaseOrder, SignOrder, SignedFile};
use crate::rpm::Rpm;
use crate::task::{Task, cut};
use crate::{Digest, Timestamp};
use std::collections::BTreeMap;

impl Build {
    /// The packages that go out, in the order of their NEVRAs: of steps that release, each NEVRA once, a noarch package from the platform's
    /// `noarch_from` or else the first architecture that made it. They stay the same once all tasks are done. Of a scratch build none do.
    pub fn releasable(&self) -> Vec<OrderedFile> {
        self.made()
            .into_values()
            .filter_map(|made| made.into_iter().next())
            .collect()
    }

    /// Packages that several architectures made, with what each of them made, the one that goes out first. Whoever signs that one makes sure
    /// that the others are equal to it. None if the platform says whose goes out.
    pub fn made_several_times(&self) -> Vec<Vec<OrderedFile>> {
        if self.platform.noarch_from.is_some() {
            return Vec::new();
        }
        let several =
            |made: &Vec<OrderedFile>| made.iter().any(|file| file.digest != made[0].digest);
        self.made().into_values().filter(several).collect()
    }

    /// What the steps that release have made, by NEVRA, each from every task that made it, the one that goes out first.
    fn made(&self) -> BTreeMap<String, Vec<OrderedFile>> {
        let mut files: BTreeMap<String, Vec<OrderedFile>> = BTreeMap::new();
        if self.push.announced.options.scratch {
            return files;
        }
        let releases = |task: &&Task| self.step_of(&task.id).is_some_and(|step| step.releases);
        for task in self.tasks.iter().filter(releases) {
            let wins = task.id.arch.is_some() && task.id.arch == self.platform.noarch_from;
            for artifact in task.artifacts() {
                let Some(rpm) = artifact.rpm.clone() else {
                    continue;
                };
                let file = OrderedFile {
                    name: artifact.name.clone(),
                    digest: artifact.digest,
                    size: artifact.size,
                    rpm,
                };
                let made = files.entry(file.rpm.to_string()).or_default();
                let at = if wins { 0 } else { made.len() };
                made.insert(at, file);
            }
        }
        files
    }

    /// The header of the source package that a step handed over.
    pub fn source_package(&self) -> Option<&Rpm> {
        self.tasks
            .iter()
            .flat_map(Task::artifacts)
            .filter_map(|artifact| artifact.rpm.as_ref())
            .find(|rpm| rpm.is_source())
    }

    /// The time that signatures and repository entries carry: the commit's, so that doing it again gives the same bytes. It is never a time
    /// to come, which rpm would not trust, whatever the clock was where it was committed.
    pub(super) fn stamp_s(&self) -> u64 {
        self.push
            .committed_s
            .min(self.push.announced.received.0 / 1000)
    }

    pub(super) fn signed(
        &mut self,
        id: OrderId,
        made: &[SignedFile],
    ) -> Result<Vec<Effect>, Refused> {
        match &self.stage {
            Stage::Signing { order } if *order == id => {}
            Stage::Signing { .. } => return Err(Refused::WrongOrder { given: id }),
            Stage::Releasing { .. }
            | Stage::Ended {
                end: End::Released { .. },
            } => return Err(Refused::Already),
            Stage::Running | Stage::Ended { .. } => {
                return Err(Refused::WrongStage(self.word().to_owned()));
            }
        }
        let ordered = self.releasable();
        let fits = ordered.len() == made.len()
            && ordered
                .iter()
                .zip(made)
                .all(|(file, made)| file.digest == made.unsigned);
        if !fits {
            return Err(Refused::WrongAnswer {
                order: id,
                problem: "other files than ordered".to_owned(),
            });
        }
        let signed = |(file, made): (OrderedFile, &SignedFile)| OrderedFile {
            digest: made.signed,
            size: made.size,
            ..file
        };
        let files = ordered.into_iter().zip(made).map(signed).collect();
        let package = self.push.announced.package.clone();
        let order = ReleaseOrder::new(
            self.id.clone(),
            package,
            &self.platform,
            self.stamp_s(),
            files,
        )
        .retried(self.order_retries);
        self.stage = Stage::Releasing { order: order.id };
        self.waits = None;
        Ok(vec![Effect::Release(order)])
    }

    pub(super) fn released(
        &mut self,
        id: OrderId,
        generation: Digest,
        number: u64,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        match &self.stage {
            Stage::Releasing { order } if *order == id => Ok(self.end(
                End::Released {
                    order: id,
                    generation,
                    number,
                },
                now,
            )),
            Stage::Releasing { .. } => Err(Refused::WrongOrder { given: id }),
            Stage::Ended {
                end: End::Released { order, .. },
            } if *order == id => Err(Refused::Already),
            Stage::Running | Stage::Signing { .. } | Stage::Ended { .. } => {
                Err(Refused::WrongStage(self.word().to_owned()))
            }
        }
    }

    /// Notes why an order is not carried out yet. The first moment of one trouble stays.
    pub(super) fn order_waits(
        &mut self,
        id: OrderId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let (Stage::Signing { order } | Stage::Releasing { order }) = &self.stage else {
            return Err(Refused::WrongStage(self.word().to_owned()));
        };
        if *order != id {
            return Err(Refused::WrongOrder { given: id });
        }
        let reason = cut(reason);
        if self
            .waits
            .as_ref()
            .is_none_or(|waits| waits.reason != reason)
        {
            self.waits = Some(OrderWait { since: now, reason });
        }
        Ok(())
    }

    pub(super) fn order_refused(
        &mut self,
        id: OrderId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        let stands = match &self.stage {
            Stage::Signing { order } | Stage::Releasing { order } => *order,
            Stage::Ended {
                end: End::Failed { reason: said },
            } if *said == cut(reason) => return Err(Refused::Already),
            Stage::Running | Stage::Ended { .. } => {
                return Err(Refused::WrongStage(self.word().to_owned()));
            }
        };
        if stands != id {
            return Err(Refused::WrongOrder { given: id });
        }
        Ok(self.end(
            End::Failed {
                reason: cut(reason),
            },
            now,
        ))
    }

    /// Whether this build ordered exactly this, and still wants it.
    pub fn vouches_for_signing(&self, given: &SignOrder) -> Result<(), String> {
        match &self.stage {
            Stage::Signing { order } if *order == given.id && given.is_as_named() => Ok(()),
            Stage::Signing { order } => Err(format!(
                "build {} ordered {order}, and not what {} says",
                self.id, given.id
            )),
            Stage::Running | Stage::Releasing { .. } | Stage::Ended { .. } => Err(format!(
                "build {} is {}: it has no order for the signer",
                self.id,
                self.word()
            )),
        }
    }

    /// Whether this build ordered exactly this, and still wants it.
    pub fn vouches_for_release(&self, given: &ReleaseOrder) -> Result<(), String> {
        match &self.stage {
            Stage::Releasing { order } if *order == given.id && given.is_as_named() => Ok(()),
            Stage::Releasing { order } => Err(format!(
                "build {} ordered {order}, and not what {} says",
                self.id, given.id
            )),
            Stage::Running | Stage::Signing { .. } | Stage::Ended { .. } => Err(format!(
                "build {} is {}: it has no order for the releaser",
                self.id,
                self.word()
            )),
        }
    }
}
