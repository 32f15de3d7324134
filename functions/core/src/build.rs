//! The life of a build: one state, one closed list of events, one function that says what follows.

mod clock;
mod needs;
mod retry;

pub use clock::AHEAD_MS;

use crate::access::Actor;
use crate::order::{Effect, OrderId, OrderedFile, ReleaseOrder, SignOrder, SignedFile};
use crate::platform::{Limits, Platform, Step, StepScope};
use crate::push::Push;
use crate::queue::Rank;
use crate::rpm::Rpm;
use crate::sources::TREE_ARTIFACT;
use crate::task::{
    ARTIFACTS_MAX, ATTEMPTS_MAX, Artifact, Attempt, AttemptEnd, Blame, Failure, LEASE_MS,
    LEASES_MAX, Lease, Outcome, RunnerProfile, Task, TaskId, TaskState, cut,
};
use crate::{BuildId, Digest, LeaseNumber, PluginName, RunnerName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One package at one commit on one platform, from plan to release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Which.
    pub id: BuildId,
    /// What is built.
    pub push: Push,
    /// Where, as it was when the build was planned, with the package's own steps.
    pub platform: Platform,
    /// The plugins as they were then.
    pub plugins: BTreeMap<PluginName, Digest>,
    /// In the order of the steps, and of the platform's architectures.
    pub tasks: Vec<Task>,
    /// How far it is.
    pub stage: Stage,
    /// When it was planned.
    pub created: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Where it stands among others that wait.
    #[serde(default)]
    pub rank: Rank,
}

/// How far a build is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum Stage {
    /// Tasks are done.
    Running,
    /// All tasks are done; the signer has its order.
    Signing {
        /// Which. What it says is kept with the line's orders.
        order: OrderId,
    },
    /// All packages are signed; the releaser has its order.
    Releasing {
        /// Which. What it says is kept with the line's orders.
        order: OrderId,
    },
    /// Nothing more happens.
    Ended {
        /// How it ended.
        end: End,
    },
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// Its packages are in the platform's repositories.
    Released {
        /// By this order.
        order: OrderId,
        /// The generation of the repositories that first had them.
        generation: Digest,
        /// That generation's number.
        number: u64,
    },
    /// All tasks passed and the platform releases nothing.
    Passed,
    /// No architecture of the platform builds it.
    Excluded {
        /// Why.
        reason: String,
    },
    /// It did not work out.
    Failed {
        /// Why, for whoever must act.
        reason: String,
    },
    /// Somebody stopped it.
    Cancelled {
        /// Who.
        by: Actor,
    },
}

/// Everything that can happen to a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A runner takes a task.
    Take {
        /// Which.
        task: TaskId,
        /// Who.
        runner: RunnerName,
        /// StepScope what.
        machine: RunnerProfile,
    },
    /// Runners were heard of since their leases were written down: they are still at it. What is said of leases that are over changes
    /// nothing.
    Renew {
        /// The latest of each.
        heard: Vec<LeaseRenewal>,
    },
    /// A task has said nothing for long, or speaks again.
    Silent {
        /// Which.
        task: TaskId,
        /// Under which lease.
        lease: LeaseNumber,
        /// Since when; none where it speaks again.
        since: Option<Timestamp>,
    },
    /// It answers.
    Report {
        /// Which task.
        task: TaskId,
        /// Under which lease.
        lease: LeaseNumber,
        /// What came of it.
        outcome: Outcome,
        /// What was in its roots.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        roots: Option<Digest>,
    },
    /// A runner asks for work: whatever it had, it has no more. It was restarted, or an answer to it was lost on the way.
    Return {
        /// Who.
        runner: RunnerName,
    },
    /// Time has passed.
    Tick,
    /// Somebody stops the build.
    Cancel {
        /// Who.
        by: Actor,
    },
    /// Somebody wants tasks done again that came to nothing.
    Retry {
        /// Which; none means all of them.
        task: Option<TaskId>,
        /// Who.
        by: Actor,
        /// For how long the sandbox of one that fails again is held, in seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_s: Option<u32>,
    },
    /// The signer did as ordered.
    Signed {
        /// Which order.
        order: OrderId,
        /// What it made, in the order of the order.
        files: Vec<SignedFile>,
    },
    /// The signer will not.
    SignRefused {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: String,
    },
    /// The releaser did as ordered.
    Released {
        /// Which order.
        order: OrderId,
        /// The generation that has the packages.
        generation: Digest,
        /// Its number.
        number: u64,
    },
    /// The releaser will not.
    ReleaseRefused {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: String,
    },
    /// No store takes the build as it would be after what was to happen to it.
    Outgrown {
        /// Its size in bytes of JSON.
        bytes: u64,
        /// The most that is taken.
        bytes_max: u64,
    },
}

/// "Still at it", under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRenewal {
    /// With which task.
    pub task: TaskId,
    /// Under which lease.
    pub lease: LeaseNumber,
    /// When.
    pub at: Timestamp,
}

/// An event that does not count; the build is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was said before and has happened: nothing to do for whoever says it again.
    #[error("that has happened already")]
    Already,
    /// The build has no such task.
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    /// The task is not to be had: it is leased or done, or what it needs is not done yet.
    #[error("task {task} is {word}, and not to be had")]
    NotReady {
        /// Which.
        task: TaskId,
        /// How far it is.
        word: String,
    },
    /// It is to be seen whether another runner comes to the same.
    #[error("task {task} is not for {runner}, which did it the first time")]
    NotBy {
        /// Which.
        task: TaskId,
        /// Who wanted it.
        runner: RunnerName,
    },
    /// The lease is over: another runner may be at it. Whoever spoke must drop the task.
    #[error("lease {given} of task {task} is over")]
    StaleLease {
        /// Of which task.
        task: TaskId,
        /// The number that was given.
        given: LeaseNumber,
    },
    /// Only what came to nothing is done again.
    #[error(
        "task {task} is {word}: only what failed, was quarantined or was dropped can be done again"
    )]
    NotFailed {
        /// Which.
        task: TaskId,
        /// How far it is.
        word: String,
    },
    /// There is nothing to do again.
    #[error(
        "no task of the build failed, was quarantined or was dropped: push again for a new build"
    )]
    NothingFailed,
    /// The build's record has no room for more attempts.
    #[error(
        "task {0} was tried {ATTEMPTS_MAX} times, the most that a build takes: push again for a new build"
    )]
    Spent(TaskId),
    /// The build has ended, or is not that far.
    #[error("the build is {0}, where this cannot happen")]
    WrongStage(String),
    /// The answer is about another order than the one that stands.
    #[error("order {given} is not the one that stands")]
    WrongOrder {
        /// Which was answered.
        given: OrderId,
    },
    /// The answer does not fit the order.
    #[error("the answer to order {order} does not fit: {problem}")]
    WrongAnswer {
        /// Which order.
        order: OrderId,
        /// What does not fit.
        problem: String,
    },
}

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
            } => self
                .task_mut(&task)?
                .answer(lease, outcome, roots, now)
                .map(|()| Vec::new()),
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

    /// One of its tasks.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == *id)
    }

    /// The step that a task belongs to.
    pub fn step_of(&self, id: &TaskId) -> Option<&Step> {
        self.platform.steps.iter().find(|step| step.name == id.step)
    }

    /// One word for how far it is.
    pub const fn word(&self) -> &'static str {
        match &self.stage {
            Stage::Running => "running",
            Stage::Signing { .. } => "signing",
            Stage::Releasing { .. } => "releasing",
            Stage::Ended { end } => match end {
                End::Released { .. } => "released",
                End::Passed => "passed",
                End::Excluded { .. } => "excluded",
                End::Failed { .. } => "failed",
                End::Cancelled { .. } => "cancelled",
            },
        }
    }

    /// Why it ended as it did, where that is not plain from the word.
    pub fn reason(&self) -> Option<&str> {
        match &self.stage {
            Stage::Ended {
                end: End::Failed { reason } | End::Excluded { reason },
            } => Some(reason),
            Stage::Ended {
                end: End::Cancelled { by },
            } => Some(by.name()),
            Stage::Running
            | Stage::Signing { .. }
            | Stage::Releasing { .. }
            | Stage::Ended {
                end: End::Released { .. } | End::Passed,
            } => None,
        }
    }

    /// Whether nothing more happens.
    pub const fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. })
    }

    /// The earliest end of a lease or a pause, when time alone decides something.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let ends = |task: &Task| match &task.state {
            TaskState::Leased { lease } => Some(lease.until),
            TaskState::Paused { until } => Some(*until),
            TaskState::Waiting
            | TaskState::Passed { .. }
            | TaskState::Excluded { .. }
            | TaskState::Failed { .. }
            | TaskState::Quarantined { .. }
            | TaskState::Dropped => None,
        };
        self.tasks.iter().filter_map(ends).min()
    }

    /// The bounds of a task: its step's own where it has some, and the platform's.
    pub fn limits_of(&self, id: &TaskId) -> Limits {
        let own = self
            .step_of(id)
            .and_then(|step| step.limits)
            .unwrap_or_default();
        own.over(self.platform.limits)
    }

    fn task_mut(&mut self, id: &TaskId) -> Result<&mut Task, Refused> {
        self.tasks
            .iter_mut()
            .find(|task| task.id == *id)
            .ok_or_else(|| Refused::UnknownTask(id.clone()))
    }

    fn take(
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

    fn silent(
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
    fn end_leases(&mut self, end: AttemptEnd, now: Timestamp, over: impl Fn(&Lease) -> bool) {
        for task in &mut self.tasks {
            if task.lease().is_some_and(&over) {
                task.end_lease(end.clone(), now);
                task.wait_or_quarantine(None);
            }
        }
    }

    fn end_pauses(&mut self, now: Timestamp) {
        for task in &mut self.tasks {
            if matches!(task.state, TaskState::Paused { until } if until <= now) {
                task.state = TaskState::Waiting;
            }
        }
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

    /// Takes tasks out that have nothing to do: architectures that the source package excludes, further architectures of a
    /// noarch package, and steps whose needs were all taken out.
    fn exclude_what_has_nothing_to_do(&mut self) {
        loop {
            let next = self.tasks.iter().position(|task| {
                matches!(task.state, TaskState::Waiting) && self.nothing_to_do(task).is_some()
            });
            let Some(at) = next else { return };
            let Some(reason) = self.nothing_to_do(&self.tasks[at]) else {
                return;
            };
            self.tasks[at].state = TaskState::Excluded { reason };
        }
    }

    /// Why a task has nothing to do, once the source package is known.
    fn nothing_to_do(&self, task: &Task) -> Option<String> {
        let step = self.step_of(&task.id)?;
        if let Some(reason) = self.needs_nothing_left(step) {
            return Some(reason);
        }
        let (arch, source) = (task.id.arch?, self.source_package()?);
        if let Err(reason) = source.builds_on(arch) {
            return Some(reason);
        }
        let first = self
            .platform
            .architectures
            .iter()
            .find(|arch| source.builds_on(**arch).is_ok())?;
        (step.on == StepScope::BuildArch && source.builds_noarch() && *first != arch)
            .then(|| format!("noarch: built once, on {first}"))
    }

    /// The header of the source package that a step handed over.
    fn source_package(&self) -> Option<&Rpm> {
        self.tasks
            .iter()
            .flat_map(Task::artifacts)
            .filter_map(|artifact| artifact.rpm.as_ref())
            .find(|rpm| rpm.is_source())
    }

    /// Whether the tasks have come to something: all good, or nothing left that could run.
    fn conclude(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.tasks.iter().all(Task::is_good) {
            return self.all_good(now);
        }
        let goes_on = |task: &Task| {
            matches!(
                task.state,
                TaskState::Leased { .. } | TaskState::Paused { .. }
            )
        };
        if self.tasks.iter().any(goes_on) || self.ready().next().is_some() {
            return Vec::new();
        }
        let reasons: Vec<String> = self.tasks.iter().filter_map(Task::trouble).collect();
        self.end(
            End::Failed {
                reason: cut(&reasons.join("\n")),
            },
            now,
        )
    }

    fn all_good(&mut self, now: Timestamp) -> Vec<Effect> {
        let on_arch = |task: &&Task| task.id.arch.is_some();
        let excluded = |task: &Task| matches!(task.state, TaskState::Excluded { .. });
        if self.tasks.iter().any(|task| on_arch(&task))
            && self.tasks.iter().filter(on_arch).all(excluded)
        {
            let reason = self
                .tasks
                .iter()
                .filter(on_arch)
                .find_map(Task::reason)
                .unwrap_or_default();
            let reason = format!(
                "no architecture of platform {} builds it ({reason})",
                self.platform.name
            );
            return self.end(End::Excluded { reason }, now);
        }
        let order = SignOrder::new(
            self.id.clone(),
            self.platform.key.clone(),
            self.stamp_s(),
            self.releasable(),
        );
        if order.files.is_empty() {
            return self.end(End::Passed, now);
        }
        if let Some(homeless) = order
            .files
            .iter()
            .find(|file| !self.platform.has_repository_for(&file.rpm))
        {
            let (file, platform) = (&homeless.name, &self.platform.name);
            let reason = format!(
                "{file} is for {}, which platform {platform} has no repository for",
                homeless.rpm.arch
            );
            return self.end(
                End::Failed {
                    reason: cut(&reason),
                },
                now,
            );
        }
        self.stage = Stage::Signing { order: order.id };
        vec![Effect::Sign(order)]
    }

    /// The time that signatures and repository entries carry: the commit's, so that doing it again gives the same bytes; but never
    /// a time to come, which rpm would not trust, whatever the clock was where it was committed.
    fn stamp_s(&self) -> u64 {
        self.push
            .committed_s
            .min(self.push.announced.received.0 / 1000)
    }

    /// The packages that go out, in the order of their NEVRAs: of steps that release, each NEVRA once, a noarch package from the first
    /// architecture of the platform that made it. They stay the same once all tasks are done. Of a scratch build none do.
    pub fn releasable(&self) -> Vec<OrderedFile> {
        let mut files: BTreeMap<String, OrderedFile> = BTreeMap::new();
        if self.push.announced.options.scratch {
            return Vec::new();
        }
        for task in self
            .tasks
            .iter()
            .filter(|task| self.step_of(&task.id).is_some_and(|step| step.releases))
        {
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
                files.entry(file.rpm.to_string()).or_insert(file);
            }
        }
        files.into_values().collect()
    }

    fn signed(&mut self, id: OrderId, made: &[SignedFile]) -> Result<Vec<Effect>, Refused> {
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
        );
        self.stage = Stage::Releasing { order: order.id };
        Ok(vec![Effect::Release(order)])
    }

    fn released(
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

    fn order_refused(
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
    fn end(&mut self, end: End, now: Timestamp) -> Vec<Effect> {
        for task in self.tasks.iter_mut().filter(|task| !task.is_settled()) {
            if task.lease().is_some() {
                task.end_lease(AttemptEnd::Dropped, now);
            }
            task.state = TaskState::Dropped;
        }
        self.stage = Stage::Ended { end };
        self.ended = Some(now);
        vec![Effect::Ended {
            build: self.id.clone(),
        }]
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

impl Task {
    fn lease_mut(&mut self, number: LeaseNumber) -> Result<&mut Lease, Refused> {
        match &mut self.state {
            TaskState::Leased { lease } if lease.number == number => Ok(lease),
            _ => Err(Refused::StaleLease {
                task: self.id.clone(),
                given: number,
            }),
        }
    }

    /// Takes a runner's answer; the last answer said again is told apart from a stale one.
    fn answer(
        &mut self,
        number: LeaseNumber,
        outcome: Outcome,
        roots: Option<Digest>,
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
        match judge(outcome) {
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
    fn end_lease(&mut self, end: AttemptEnd, now: Timestamp) {
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

    /// Leases that came to nothing, as far as they count against it.
    fn in_vain(&self) -> usize {
        let counts = self.attempts.iter().skip(self.attempts_before());
        counts
            .filter(|attempt| !matches!(attempt.end, AttemptEnd::HandedBack { .. }))
            .count()
    }

    /// What a task does after a lease without a verdict: it waits for the next one, after a pause where the trouble may pass, or it
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

    /// What is wrong with it, with its name, where something is.
    fn trouble(&self) -> Option<String> {
        match &self.state {
            TaskState::Failed { failure } => Some(format!("{}: {}", self.id, failure.reason)),
            TaskState::Quarantined { reason } => Some(format!("{}: {reason}", self.id)),
            TaskState::Waiting
            | TaskState::Paused { .. }
            | TaskState::Leased { .. }
            | TaskState::Passed { .. }
            | TaskState::Excluded { .. }
            | TaskState::Dropped => None,
        }
    }
}

/// What an outcome comes to.
enum Verdict {
    /// The task is done with.
    Settled(TaskState),
    /// Passing trouble, in these words.
    Trouble(String),
    /// The runner leaves, for this reason; the task is none the worse.
    HandedBack(String),
}

fn judge(outcome: Outcome) -> Verdict {
    let settled = |failure| Verdict::Settled(TaskState::Failed { failure });
    let failed = |blame, reason: &str| settled(Failure::new(blame, cut(reason)));
    match outcome {
        Outcome::Passed { summary, artifacts } => match fault_of(&artifacts) {
            Some((blame, fault)) => failed(blame, &fault),
            None => Verdict::Settled(TaskState::Passed {
                summary: cut(&summary),
                artifacts,
            }),
        },
        Outcome::Excluded { reason } => Verdict::Settled(TaskState::Excluded {
            reason: cut(&reason),
        }),
        Outcome::HandedBack { reason } => Verdict::HandedBack(cut(&reason)),
        Outcome::Failed(Failure {
            blame: Blame::Environment,
            reason,
            ..
        }) => Verdict::Trouble(cut(&reason)),
        Outcome::Failed(failure) => settled(Failure {
            reason: cut(&failure.reason),
            ..failure
        }),
    }
}

/// What is wrong with what a task hands over, and who must act: the names are those that the next task and the repositories go by.
fn fault_of(artifacts: &[Artifact]) -> Option<(Blame, String)> {
    if artifacts.len() > ARTIFACTS_MAX {
        let fault = format!(
            "{} artifacts; a task may hand over {ARTIFACTS_MAX}",
            artifacts.len()
        );
        return Some((Blame::Package, fault));
    }
    let mut names = BTreeSet::from([TREE_ARTIFACT]);
    let odd = |name: &str| name.contains('/') || !crate::sources::is_inside(name);
    let wrong = artifacts
        .iter()
        .find(|artifact| odd(&artifact.name) || !names.insert(&artifact.name))?;
    Some((
        Blame::Plugin,
        format!(
            "an artifact called `{}`: each must have a plain file name of its own",
            wrong.name
        ),
    ))
}

impl Build {
    /// The commit's tree, as an artifact.
    fn tree(&self) -> Artifact {
        Artifact {
            name: TREE_ARTIFACT.to_owned(),
            digest: self.push.tree,
            size: self.push.tree_bytes,
            rpm: None,
        }
    }
}
