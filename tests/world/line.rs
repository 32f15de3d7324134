//! Builds without anything around them: the rules, fed event by event.

use millrace_core::build::{Build, Event, Refused};
use millrace_core::order::{Effect, OrderedFile, ReleaseOrder, SignOrder, SignedFile};
use millrace_core::plan::plan;
use millrace_core::platform::{PackageConfig, Platform};
use millrace_core::push::Push;
use millrace_core::rpm::Rpm;
use millrace_core::task::{Artifact, Blame, Failure, Outcome, RunnerProfile, TaskId};
use millrace_core::testing::plugins;
pub use millrace_core::testing::{platform, push};
use millrace_core::{Arch, Digest, LeaseNumber, RunnerName, Timestamp};

/// What runners here are, as a rule.
pub const MACHINE: RunnerProfile = RunnerProfile::of(Arch::X86_64);

/// A build, a clock, and what has been said of it.
pub struct Line {
    pub build: Build,
    /// What is wanted outside, in order.
    pub effects: Vec<Effect>,
    pub now: Timestamp,
    ends_early: Option<&'static str>,
}

impl Line {
    /// A build of a package on a platform, just planned.
    pub fn of(package: &str, architectures: &str) -> Self {
        Self::planned(
            &push(package, 1),
            &platform(architectures),
            &PackageConfig::default(),
        )
    }

    /// A build with a package's own configuration.
    pub fn planned(push: &Push, platform: &Platform, config: &PackageConfig) -> Self {
        let build = plan(push, config, platform, &plugins(), Timestamp(1_000)).unwrap();
        Self {
            effects: build.first_effects(),
            build,
            now: Timestamp(1_000),
            ends_early: None,
        }
    }

    /// A build as a store keeps it, at a time of the line's clock. What its orders say is not known.
    pub fn resumed(build: Build, now: Timestamp) -> Self {
        Self {
            build,
            effects: Vec::new(),
            now,
            ends_early: None,
        }
    }

    /// Lets an event happen; refused events must leave the build as it was.
    pub fn event(&mut self, event: Event) -> Result<(), Refused> {
        let before = self.build.clone();
        match self.build.step(event, self.now) {
            Ok(effects) => {
                self.effects.extend(effects);
                Ok(())
            }
            Err(refused) => {
                assert_eq!(self.build, before, "a refused event changed the build");
                Err(refused)
            }
        }
    }

    /// Time passes.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// A runner takes a task; its lease's number.
    pub fn take(&mut self, task: &str, runner: &str) -> LeaseNumber {
        let machine = id(task).arch.map_or(MACHINE, RunnerProfile::of);
        self.event(Event::Take {
            task: id(task),
            runner: name(runner),
            machine,
        })
        .unwrap();
        self.build.task(&id(task)).unwrap().lease().unwrap().number
    }

    /// A runner answers.
    pub fn report(
        &mut self,
        task: &str,
        lease: LeaseNumber,
        outcome: Outcome,
    ) -> Result<(), Refused> {
        self.event(Event::Report {
            task: id(task),
            lease,
            outcome,
            roots: None,
        })
    }

    /// A runner takes a task and hands over these packages.
    pub fn passes(&mut self, task: &str, packages: &[Rpm]) {
        let lease = self.take(task, "r1");
        self.pass_ms(5_000);
        self.report(task, lease, passed(packages)).unwrap();
    }

    /// A runner takes a task and finds the package at fault.
    pub fn fails(&mut self, task: &str, reason: &str) {
        let lease = self.take(task, "r1");
        self.report(task, lease, failed(Blame::Package, reason))
            .unwrap();
    }

    /// The order that the signer has, the last one.
    pub fn sign_order(&self) -> SignOrder {
        let ordered = self.effects.iter().rev().find_map(|effect| {
            if let Effect::Sign(order) = effect {
                Some(order.clone())
            } else {
                None
            }
        });
        ordered.unwrap_or_else(|| panic!("no order for the signer: {}", self.build.word()))
    }

    /// The order that the releaser has, the last one.
    pub fn release_order(&self) -> ReleaseOrder {
        let ordered = self.effects.iter().rev().find_map(|effect| {
            if let Effect::Release(order) = effect {
                Some(order.clone())
            } else {
                None
            }
        });
        ordered.unwrap_or_else(|| panic!("no order for the releaser: {}", self.build.word()))
    }

    /// Says why the story ends while somebody works.
    pub fn ends_early(&mut self, why: &'static str) {
        self.ends_early = Some(why);
    }

    /// The signer does as ordered.
    pub fn signed(&mut self) {
        let order = self.sign_order();
        let sign = |digest: &Digest| Digest::of(format!("signed {digest}").as_bytes());
        let signed = |file: &OrderedFile| SignedFile {
            unsigned: file.digest,
            signed: sign(&file.digest),
            size: file.size,
        };
        let files = order.files.iter().map(signed).collect();
        self.event(Event::Signed {
            order: order.id,
            files,
        })
        .unwrap();
    }

    /// The releaser does as ordered.
    pub fn released(&mut self) {
        let order = self.release_order();
        self.event(Event::Released {
            order: order.id,
            generation: Digest::of(b"generation"),
            number: 1,
        })
        .unwrap();
    }

    /// Every task with its state in a line, and the build's own.
    pub fn told(&self) -> String {
        let task = |task: &millrace_core::task::Task| {
            let reason = task
                .reason()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            format!("{} {}{reason}\n", task.id, task.word())
        };
        let reason = self
            .build
            .reason()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        self.build.tasks.iter().map(task).collect::<String>()
            + &format!("build {}{reason}", self.build.word())
    }

    /// What is wanted outside, a line each.
    pub fn wanted(&self) -> String {
        let tell = |effect: &Effect| match effect {
            Effect::Fetch(announced) => format!("fetch {}", announced.id),
            Effect::Plan(push) => format!("plan {}", push.announced.id),
            Effect::Ready { task, .. } => format!("ready {task}"),
            Effect::Sign(order) => {
                format!(
                    "sign {}",
                    order
                        .files
                        .iter()
                        .map(|file| file.name.as_str())
                        .collect::<Vec<_>>()
                        .join(" ")
                )
            }
            Effect::Release(order) => {
                let place = |placement: &millrace_core::order::Placement| {
                    let into = placement
                        .into
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(" ");
                    format!("\n  {} into {into}", placement.file.name)
                };
                format!(
                    "release{}",
                    order.placements.iter().map(place).collect::<String>()
                )
            }
            Effect::FetchNames { platform } => format!("fetch the names of {platform}"),
            Effect::ClaimReleased { platform } => format!("claim what {platform} released"),
            Effect::Ended { .. } => "ended".to_owned(),
            Effect::Unreadable(problem) => problem.clone(),
        };
        self.effects.iter().map(tell).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let leased = self.build.tasks.iter().find(|task| task.lease().is_some());
        if let (Some(task), None, false) = (leased, self.ends_early, std::thread::panicking()) {
            panic!(
                "the story ends while somebody works on {}. Let it answer, or say why with `ends_early`",
                task.id
            );
        }
    }
}

/// A task's id.
pub fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

/// A runner's name.
pub fn name(text: &str) -> RunnerName {
    text.parse().unwrap()
}

/// A package's facts.
pub fn rpm(name: &str, arch: &str) -> Rpm {
    Rpm {
        name: name.to_owned(),
        epoch: 0,
        version: "1".to_owned(),
        release: "1.el9".to_owned(),
        arch: arch.to_owned(),
        exclusive_arch: Vec::new(),
        exclude_arch: Vec::new(),
        build_arch: Vec::new(),
    }
}

/// An answer that hands over these packages.
pub fn passed(packages: &[Rpm]) -> Outcome {
    let artifact = |rpm: &Rpm| Artifact {
        name: format!("{rpm}.rpm"),
        digest: Digest::of(rpm.to_string().as_bytes()),
        size: 7,
        rpm: Some(rpm.clone()),
    };
    Outcome::Passed {
        summary: format!("{} packages", packages.len()),
        artifacts: packages.iter().map(artifact).collect(),
    }
}

/// An answer that it did not work out.
pub fn failed(blame: Blame, reason: &str) -> Outcome {
    Outcome::Failed(Failure::new(blame, reason))
}
