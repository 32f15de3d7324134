//! The invariants: what holds whenever a function has ended or died, and what holds at the end.

use super::Simulation;
use millrace_core::build::{Build, End, Stage};
use millrace_core::order::{Effect, OrderId, ReleaseOrder};
use millrace_core::push::{PushRecord, PushState};
use millrace_core::task::{Attempt, AttemptEnd, LEASES_MAX, LeaseId, Task, TaskState};
use millrace_core::{BuildId, Digest, PushId};
use millrace_releaser::Generation;
use millrace_store::records::parse;
use millrace_store::{StateStore, Table, Version};
use std::collections::{BTreeMap, BTreeSet};

/// What was seen so far, to which what comes must fit.
#[derive(Default)]
pub struct Invariants {
    builds: BTreeMap<BuildId, (Version, Build)>,
    leases: BTreeMap<(BuildId, String), u32>,
    /// Orders that were on their way to the releaser, by build.
    orders: BTreeMap<BuildId, ReleaseOrder>,
    /// Deliveries that were made.
    pub made: BTreeSet<PushId>,
    /// Those of them that were accepted, as far as the forge knows.
    pub accepted: BTreeSet<PushId>,
    generation: Option<(Digest, Generation)>,
    pushes: BTreeMap<String, Version>,
    /// Builds that somebody wants to go on, if they failed or were cancelled.
    may_go_on: BTreeSet<BuildId>,
}

impl Simulation {
    /// What holds always. What has not changed since it was looked at is not read again: that is most of it, most of the time.
    pub fn check(&mut self) {
        let records = self
            .world
            .run(self.world.store.list(Table::Build, None, usize::MAX))
            .unwrap();
        let mut changed = self.may_have_released;
        for record in records {
            let id: BuildId = record.key.id.parse().unwrap();
            if self
                .invariants
                .builds
                .get(&id)
                .is_none_or(|(version, _)| *version != record.version)
            {
                let build: Build = parse(&record).unwrap();
                self.invariants.build(&build);
                self.invariants.builds.insert(id, (record.version, build));
                changed = true;
            }
        }
        if self.may_have_released || self.invariants.generation.is_none() {
            let platform = "el-9".parse().unwrap();
            let read = self
                .world
                .run(millrace_releaser::current(&platform, &self.world.store))
                .unwrap()
                .unwrap();
            self.invariants.newer(read);
            self.may_have_released = self.somebody_releases();
        }
        let pushes = self
            .world
            .run(self.world.store.list(Table::Push, None, usize::MAX))
            .unwrap();
        let versions = pushes
            .iter()
            .map(|record| (record.key.id.clone(), record.version))
            .collect();
        if changed || self.invariants.pushes != versions {
            self.invariants.fit();
            self.invariants.pushes(
                &pushes
                    .iter()
                    .map(|record| parse(record).unwrap())
                    .collect::<Vec<_>>(),
            );
            self.invariants.pushes = versions;
        }
    }

    /// What holds when nobody has anything left to do.
    pub fn check_the_end(&mut self) {
        self.check();
        assert_eq!(self.world.left_over(), [""; 0], "something is left over");
        let pushes = self.world.pushes();
        let heard: BTreeSet<PushId> = pushes
            .iter()
            .map(|push| push.announced.id.clone())
            .collect();
        assert_eq!(
            heard, self.invariants.accepted,
            "pushes are not what was accepted"
        );
        for push in &pushes {
            match &push.state {
                PushState::Planned { .. } => {}
                PushState::Refused { reason } => {
                    let why = match reason.as_str() {
                        reason if reason.starts_with("not fetched after") => "fetching given up",
                        reason if reason.starts_with("not planned after") => "planning given up",
                        _ => "push to no platform's branch refused",
                    };
                    let right = push.announced.reference != "refs/heads/main"
                        || reason.contains("given up after");
                    assert!(right, "push {} was refused: {reason}", push.announced.id);
                    self.counts.happened(why);
                }
                PushState::Fetching | PushState::Fetched => {
                    panic!("push {} was forgotten", push.announced.id)
                }
            }
        }
        for build in self.world.builds() {
            self.check_end_of(&build);
        }
    }

    /// An answer that a runner was thanked for is in its build.
    pub fn check_taken(&self, lease_id: &LeaseId) {
        let build = self
            .world
            .builds()
            .into_iter()
            .find(|build| build.id == lease_id.build)
            .unwrap();
        let heard = |attempt: &Attempt| {
            attempt.number == lease_id.number
                && matches!(
                    attempt.end,
                    AttemptEnd::Answered | AttemptEnd::Troubled { .. }
                )
        };
        let taken = build
            .task(&lease_id.task)
            .unwrap()
            .attempts
            .iter()
            .any(heard);
        assert!(
            taken,
            "the answer for {} of {} was taken, and is lost",
            lease_id.task, lease_id.build
        );
    }

    fn check_end_of(&mut self, build: &Build) {
        let name = format!("build {} of {}", build.id, build.push.announced.package);
        assert!(build.is_ended(), "{name} is {} for ever", build.word());
        assert!(
            build.tasks.iter().all(Task::is_settled),
            "{name} has ended, and its tasks have not"
        );
        let (given_up, late) = build.reason().map_or((false, false), |reason| {
            (
                reason.contains("given up after"),
                reason.contains("given up before it was carried out"),
            )
        });
        if build.tasks.iter().all(Task::is_good) {
            let good = matches!(
                build.stage,
                Stage::Ended {
                    end: End::Released { .. } | End::Excluded { .. }
                }
            );
            assert!(
                good || given_up || late,
                "all tasks of {name} are done, and it is {}",
                build.word()
            );
        }
        self.counts.happened(format!("build {}", build.word()));
        if build.word() == "released" && build.tasks.iter().any(|task| !task.retried.is_empty()) {
            self.counts
                .happened("build released, after something was done again");
        }
        if self.untold.contains(&build.id) {
            assert_eq!(build.word(), "released", "the packages of {name} are out");
            self.counts.happened("release out, given up and told");
        }
        if late {
            self.counts.happened("release taken back, and then tried");
        }
        if given_up {
            let signing = build
                .reason()
                .is_some_and(|reason| reason.starts_with("signing: "));
            self.counts.happened(if signing {
                "signing given up"
            } else {
                "release given up"
            });
        }
        for task in &build.tasks {
            match &task.state {
                TaskState::Quarantined { .. } => self.counts.happened("task quarantined"),
                TaskState::Excluded { reason } if reason.starts_with("made up") => {
                    self.counts.happened("task excluded by its runner");
                }
                _ => {}
            }
        }
    }
}

impl Invariants {
    /// An effect on its way: orders are taken from there.
    pub fn see(&mut self, effect: &Effect) {
        if let Effect::Release(order) = effect {
            let before = self.orders.insert(order.build.clone(), order.clone());
            assert!(
                before.is_none_or(|before| before == *order),
                "build {} ordered two releases",
                order.build
            );
        }
    }

    /// Somebody is about to want this build done again.
    pub fn may_go_on(&mut self, build: BuildId) {
        self.may_go_on.insert(build);
    }

    /// A build as it is now, after what it was.
    fn build(&mut self, build: &Build) {
        if let Some((_, before)) = self.builds.get(&build.id) {
            let came_to_nothing = matches!(
                before.stage,
                Stage::Ended {
                    end: End::Failed { .. } | End::Cancelled { .. }
                }
            );
            let may_go_on = came_to_nothing && self.may_go_on.contains(&build.id);
            assert!(
                !before.is_ended() || before == build || may_go_on,
                "build {} had ended, and has changed",
                build.id
            );
            before
                .tasks
                .iter()
                .zip(&build.tasks)
                .for_each(|(before, task)| kept(before, task, &build.id));
        }
        assert_eq!(
            build.id,
            BuildId::of_push(&build.push.announced.id, &build.platform.name),
            "one build a push and platform"
        );
        for task in &build.tasks {
            let (name, numbers) = (
                format!("{} of {}", task.id, build.id),
                task.attempts.iter().map(|attempt| attempt.number.0),
            );
            let numbers: Vec<u32> = numbers
                .chain(task.lease().map(|lease| lease.number.0))
                .collect();
            let grow = numbers.windows(2).all(|pair| pair[0] < pair[1]);
            let counted = task.attempts.len() - before_the_last_retry(task);
            assert!(
                grow && counted <= LEASES_MAX,
                "{name} had the leases {numbers:?}"
            );
            let highest = numbers.last().copied().unwrap_or_default();
            let before = self
                .leases
                .insert((build.id.clone(), task.id.to_string()), highest)
                .unwrap_or_default();
            assert!(
                highest >= before,
                "{name} had lease {before}, and has {highest} now"
            );
            verdict(task, &name);
        }
    }

    /// Everything that is in the repositories was ordered for them, by a build that is not undecided; and what was ordered once
    /// was done once.
    fn fit(&self) {
        let Some((_, generation)) = &self.generation else {
            return;
        };
        let stands = |order: &OrderId| {
            let ordered = self.orders.values().find(|ordered| ordered.id == *order);
            ordered.unwrap_or_else(|| panic!("order {order} was carried out, and nobody gave it"))
        };
        let mut expected: BTreeMap<(String, String), Digest> = BTreeMap::new();
        for (id, number) in &generation.orders {
            let order = stands(id);
            match &self.builds[&order.build].1.stage {
                Stage::Releasing { .. } => {}
                Stage::Ended {
                    end: End::Released { number: said, .. },
                } => {
                    assert_eq!(
                        said, number,
                        "build {} is in another generation than it says",
                        order.build
                    );
                }
                _ => panic!(
                    "build {} is {}, and its packages are out",
                    order.build,
                    self.builds[&order.build].1.word()
                ),
            }
            for placement in &order.placements {
                for repository in &placement.into {
                    let before = expected.insert(
                        (repository.to_string(), placement.file.name.clone()),
                        placement.file.digest,
                    );
                    assert!(
                        before.is_none_or(|before| before == placement.file.digest),
                        "{} is two files",
                        placement.file.name
                    );
                }
            }
        }
        let files =
            |(repository, packages): (&str, &BTreeMap<String, millrace_releaser::PackageEntry>)| {
                let place = repository.to_owned();
                packages
                    .iter()
                    .map(move |(name, entry)| ((place.clone(), name.clone()), entry.file.digest))
                    .collect::<Vec<_>>()
            };
        let found: BTreeMap<(String, String), Digest> =
            generation.packages().flat_map(files).collect();
        assert_eq!(
            found, expected,
            "what is in the repositories is not what was ordered"
        );
        for (id, (_, build)) in &self.builds {
            let said = matches!(
                build.stage,
                Stage::Ended {
                    end: End::Released { .. }
                }
            );
            let is_out = self
                .orders
                .get(id)
                .is_some_and(|order| generation.orders.contains_key(&order.id));
            assert!(
                !said || is_out,
                "build {id} says released, and is in no repository"
            );
        }
        // The platform's first generation is made with it, and has nothing in it.
        assert_eq!(
            generation.number,
            1 + generation.orders.len() as u64,
            "something was released twice, or not one by one"
        );
    }

    /// What everybody reads, as it is now: another than before has a greater number.
    fn newer(&mut self, (generation, digest): (Generation, Digest)) {
        if let Some((before, earlier)) = &self.generation {
            assert!(
                generation.number > earlier.number || digest == *before,
                "generation {} has changed",
                earlier.number
            );
        }
        self.generation = Some((digest, generation));
    }

    fn pushes(&self, pushes: &[PushRecord]) {
        let mut planned = BTreeSet::new();
        for push in pushes {
            let id = &push.announced.id;
            assert!(self.made.contains(id), "push {id} follows from no delivery");
            if let PushState::Planned { builds } = &push.state {
                planned.extend(builds.iter().cloned());
            }
        }
        let built: BTreeSet<BuildId> = self.builds.keys().cloned().collect();
        assert!(
            planned.is_subset(&built),
            "of {planned:?} there are {built:?}"
        );
        // Builds are written one by one, and then their push: between these it is not planned yet, and will be.
        for build in built.difference(&planned) {
            let push = &self.builds[build].1.push.announced.id;
            let state = pushes
                .iter()
                .find(|record| record.announced.id == *push)
                .map(|record| &record.state);
            assert_eq!(
                state,
                Some(&PushState::Fetched),
                "build {build} of push {push} was never planned"
            );
        }
        for id in &self.accepted {
            assert!(
                pushes.iter().any(|push| push.announced.id == *id),
                "push {id} was accepted, and is not there"
            );
        }
    }
}

/// Attempts that do not count against a task, since somebody wanted it done again after them.
fn before_the_last_retry(task: &Task) -> usize {
    task.retried.last().map_or(0, |retried| retried.attempts)
}

/// What passed stays passed, with what it handed over, no matter who wants the rest done again; and nothing that was tried is forgotten.
fn kept(before: &Task, task: &Task, build: &BuildId) {
    assert!(
        !before.is_good() || before.state == task.state,
        "{} of {build} was done, and is {} now",
        task.id,
        task.word()
    );
    assert!(
        task.attempts.starts_with(&before.attempts),
        "attempts at {} of {build} are forgotten",
        task.id
    );
    assert!(
        task.retried.starts_with(&before.retried),
        "of {} of {build} it is forgotten who wanted it done again",
        task.id
    );
}

/// A task has one verdict at most since somebody wanted it done again, and it is that of its last lease.
fn verdict(task: &Task, name: &str) {
    let counted = task.attempts.iter().skip(before_the_last_retry(task));
    let answered: Vec<u32> = counted
        .filter(|attempt| attempt.end == AttemptEnd::Answered)
        .map(|attempt| attempt.number.0)
        .collect();
    assert!(
        answered.len() <= 1,
        "{name} has verdicts of the leases {answered:?}"
    );
    let said = match &task.state {
        TaskState::Passed { summary: words, .. } => words,
        TaskState::Failed { failure } => &failure.reason,
        TaskState::Excluded { reason } if !answered.is_empty() => reason,
        _ => return,
    };
    let last = task.attempts.last().unwrap();
    let right = said.ends_with(&format!(" (lease {})", last.number));
    assert!(
        right && last.end == AttemptEnd::Answered,
        "{name} says `{said}`, and its last lease was {}",
        last.number
    );
}
