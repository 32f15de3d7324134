//! The laws: what holds after every step, and what holds at the end.

use crate::town::{Town, done};
use millrace_core::build::{Build, End, Stage};
use millrace_core::order::Effect;
use millrace_core::push::PushState;
use millrace_core::task::{LEASES_MAX, TaskState};
use millrace_core::{LeaseNumber, PlatformName};
use millrace_store::builds::{LEASED, ready_index};
use millrace_store::records::all;
use millrace_store::{StateStore, Table};
use std::collections::BTreeSet;

/// An effect in a few words.
pub fn told(effect: &Effect) -> String {
    match effect {
        Effect::Fetch(announced) => format!("fetch {}", announced.id),
        Effect::Plan(push) => format!("plan {}", push.announced.id),
        Effect::Ready { build, task } => format!("ready {task} of {build}"),
        Effect::Sign(order) => format!("sign {} of {}", order.id, order.build),
        Effect::Release(order) => format!("release {} of {}", order.id, order.build),
        Effect::Ended { build } => format!("ended {build}"),
    }
}

impl Town {
    /// What holds always.
    pub fn check(&mut self) {
        for build in done(all::<Build>(&self.store, Table::Build)).unwrap() {
            self.check_build(&build);
        }
        for (task, leases) in &self.verdicts {
            assert!(leases.len() <= 1, "verdicts were taken for {task} under the leases {leases:?}");
        }
        self.check_repositories();
    }

    fn check_build(&mut self, build: &Build) {
        for task in &build.tasks {
            let numbers: Vec<LeaseNumber> = task.attempts.iter().map(|attempt| attempt.number).collect();
            assert!(numbers.is_sorted() && numbers.len() <= LEASES_MAX, "{} of {}: leases {numbers:?}", task.id, build.id);
            if let (Some(lease), Some(last)) = (task.lease(), numbers.last()) {
                assert!(lease.number > *last, "{} of {}: lease {} after {last}", task.id, build.id, lease.number);
            }
        }
        if build.is_ended() {
            let as_it_ended = self.ended.entry(build.id.to_string()).or_insert_with(|| build.clone());
            assert_eq!(as_it_ended, build, "an ended build changed");
        }
    }

    /// Every package is in its repository once, with the bytes that a build had signed; and only whole builds are there.
    fn check_repositories(&self) {
        let Some(generation) = self.generation() else { return };
        let released: BTreeSet<String> = generation.builds().map(ToString::to_string).collect();
        for (repository, packages) in generation.packages() {
            let names: BTreeSet<&String> = packages.keys().collect();
            assert_eq!(names.len(), packages.len(), "{repository} has a package twice");
        }
        for build in done(all::<Build>(&self.store, Table::Build)).unwrap() {
            if let Stage::Ended { end: End::Released { .. } } = &build.stage {
                assert!(released.contains(build.id.as_str()), "build {} says released, and is in no repository", build.id);
            }
            if let Stage::Running | Stage::Signing { .. } | Stage::Ended { end: End::Failed { .. } | End::Cancelled { .. } } =
                &build.stage
            {
                assert!(!released.contains(build.id.as_str()), "build {} is {}, and its packages are out", build.id, build.word());
            }
        }
    }

    /// What is released now.
    fn generation(&self) -> Option<millrace_releaser::Generation> {
        let platform: PlatformName = "el-9".parse().unwrap();
        done(millrace_releaser::current(&platform, &self.store)).unwrap().map(|(generation, _)| generation)
    }

    /// What holds when nobody has anything left to do.
    pub fn check_the_end(&mut self) {
        self.check();
        let builds: Vec<Build> = done(all(&self.store, Table::Build)).unwrap();
        for build in &builds {
            assert!(build.is_ended(), "build {} of {} is {} for ever", build.id, build.push.announced.package, build.word());
            for task in &build.tasks {
                assert!(
                    !matches!(task.state, TaskState::Waiting | TaskState::Leased { .. }),
                    "{} of {} is {}",
                    task.id,
                    build.id,
                    task.word()
                );
            }
        }
        for record in done(all::<millrace_core::push::PushRecord>(&self.store, Table::Push)).unwrap() {
            assert!(matches!(record.state, PushState::Planned { .. }), "push {} was forgotten", record.announced.id);
        }
        let later = self.now().plus_ms(u64::from(u32::MAX));
        let letters = done(self.store.take(10, later, later.plus_ms(1))).unwrap();
        assert_eq!(letters, [], "effects are left over");
        assert_eq!(done(self.store.set_aside(10)).unwrap(), [], "effects were set aside");
        for index in [LEASED.to_owned(), ready_index(None), ready_index(Some(millrace_core::Arch::X86_64))] {
            assert_eq!(done(self.store.marked(&index, None, 10)).unwrap(), [], "marks are left over in {index}");
        }
        self.history.push(builds.iter().map(|build| format!("{} {}", build.id, build.word())).collect::<Vec<_>>().join(", "));
    }
}
