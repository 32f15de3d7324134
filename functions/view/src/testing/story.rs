//! Builds that are told step by step, by the rules themselves.

use millrace_core::build::{Build, Event};
use millrace_core::order::SignedFile;
use millrace_core::plan::plan;
use millrace_core::platform::{PackageConfig, Platform};
use millrace_core::push::{Announced, Commit, Push};
use millrace_core::rpm::Rpm;
use millrace_core::task::{Artifact, Blame, Failure, Outcome, RunnerProfile};
use millrace_core::testing;
use millrace_core::{Arch, Digest, LeaseNumber, PushId, RunnerName, Timestamp};

/// When all of it is looked at: 2026-11-23 20:00 UTC.
pub const NOW: Timestamp = Timestamp(1_795_464_000_000);

const MINUTE: u64 = 60_000;

const PLATFORM: &str = r#"
name = "almalinux-9"
title = "AlmaLinux 9"
architectures = ["x86_64", "aarch64"]
branches = ["main", "c9*"]
releasever = "9"
key = "almalinux-9"
macros = { dist = ".el9" }
repositories = [
    { id = "baseos", mirrorlist = "https://mirrors.example/9/baseos", gpgkey = "https://mirrors.example/KEY" },
    { id = "extra", baseurl = "https://dana:hunter2@repo.example/9/" },
]
buildroot = { packages = ["@buildsys-build"], minimal = ["bash"] }

[[steps]]
name = "source"
plugin = "source"
on = "once"

[[steps]]
name = "rpm"
plugin = "rpm"
on = "build-arch"
needs = ["source"]
releases = true

[[steps]]
name = "check"
plugin = "check"
on = "each-arch"
needs = ["rpm"]
config = { depth = 2 }
"#;

/// A build as it goes on, told step by step.
#[derive(Clone)]
pub struct BuildStory {
    pub build: Build,
    now: Timestamp,
}

pub fn platform() -> Platform {
    Platform::parse("almalinux-9.toml", PLATFORM).unwrap()
}

pub fn announced(package: &str, minutes_ago: u64) -> Announced {
    let received = Timestamp(NOW.0 - minutes_ago * MINUTE);
    Announced {
        id: PushId::of_delivery("gitea", &format!("{package} {minutes_ago}")),
        clone_url: format!("https://forge.example/rpms/{package}.git"),
        reference: "refs/heads/c9s".to_owned(),
        commit: Commit::new(&Digest::of(format!("{package}{minutes_ago}").as_bytes()).hex()[..40])
            .unwrap(),
        received,
        ..testing::announced(package, minutes_ago)
    }
}

pub fn story(package: &str, subject: &str, minutes_ago: u64) -> BuildStory {
    let push = Push {
        announced: announced(package, minutes_ago),
        committed_s: NOW.0 / 1000 - 90_000,
        subject: subject.to_owned(),
        sources: Vec::new(),
        ..testing::push(package, minutes_ago)
    };
    let plugins = testing::plugins();
    let now = push.announced.received.plus_ms(2000);
    BuildStory {
        build: plan(&push, &PackageConfig::default(), &platform(), &plugins, now).unwrap(),
        now,
    }
}

pub fn file(package: &str, name: &str, arch: &str) -> Artifact {
    let rpm = Rpm {
        name: name.to_owned(),
        epoch: 0,
        version: "1.3.1".to_owned(),
        release: "3.el9".to_owned(),
        arch: arch.to_owned(),
        exclusive_arch: Vec::new(),
        exclude_arch: Vec::new(),
        build_arch: Vec::new(),
    };
    let name = format!("{name}-1.3.1-3.el9.{arch}.rpm");
    let bytes = format!("{package} {name} {arch}").repeat(900);
    Artifact {
        name,
        digest: Digest::of(bytes.as_bytes()),
        size: bytes.len() as u64,
        rpm: Some(rpm),
    }
}

impl BuildStory {
    pub fn after(mut self, ms: u64) -> Self {
        self.now = self.now.plus_ms(ms);
        self
    }

    pub fn event(mut self, event: Event) -> Self {
        self.build.step(event, self.now).unwrap();
        self
    }

    /// Waits until a pause is over, and lets a runner take the task.
    pub fn take_later(self, task: &str, runner: &str) -> Self {
        let until = self.build.next_expiry().unwrap();
        let ms = until.0 - self.now.0;
        self.after(ms).event(Event::Tick).take(task, runner)
    }

    pub fn take(self, task: &str, runner: &str) -> Self {
        let arch = task
            .split_once('@')
            .map_or(Arch::X86_64, |(_, arch)| arch.parse().unwrap());
        self.take_on(task, runner, RunnerProfile::of(arch))
    }

    pub fn take_on(self, task: &str, runner: &str, machine: RunnerProfile) -> Self {
        self.event(Event::Take {
            task: task.parse().unwrap(),
            runner: RunnerName::new(runner).unwrap(),
            machine,
        })
    }

    pub fn report(self, task: &str, lease: u32, outcome: Outcome) -> Self {
        self.event(Event::Report {
            task: task.parse().unwrap(),
            lease: LeaseNumber(lease),
            outcome,
            roots: None,
        })
    }

    pub fn passes(self, task: &str, ms: u64, summary: &str, artifacts: Vec<Artifact>) -> Self {
        let runner = if task.ends_with("aarch64") {
            "arm-1"
        } else {
            "intel-1"
        };
        let lease = self
            .build
            .task(&task.parse().unwrap())
            .unwrap()
            .next_number()
            .0;
        self.take(task, runner).after(ms).report(
            task,
            lease,
            Outcome::Passed {
                summary: summary.to_owned(),
                artifacts,
            },
        )
    }

    pub fn fails(self, task: &str, ms: u64, blame: Blame, reason: &str) -> Self {
        let lease = self
            .build
            .task(&task.parse().unwrap())
            .unwrap()
            .next_number()
            .0;
        let outcome = Outcome::Failed(Failure::new(blame, reason));
        self.take(task, "intel-1")
            .after(ms)
            .report(task, lease, outcome)
    }

    fn package(&self) -> String {
        self.build.push.announced.package.to_string()
    }

    pub fn sourced(self) -> Self {
        let package = self.package();
        self.passes(
            "source",
            1400,
            &format!("{package}-1.3.1-3.el9.src.rpm"),
            vec![file(&package, &package, "src")],
        )
    }

    pub fn built(self) -> Self {
        let package = self.package();
        let files = |arch| {
            [
                package.clone(),
                format!("{package}-devel"),
                format!("{package}-debuginfo"),
            ]
            .map(|name| file(&package, &name, arch))
            .to_vec()
        };
        self.sourced()
            .passes("rpm@x86_64", 48_200, "3 packages", files("x86_64"))
            .passes("rpm@aarch64", 71_000, "3 packages", files("aarch64"))
    }

    pub fn checked(self) -> Self {
        let said = "installs, 212 files verify, 4 tests pass, removes";
        self.built()
            .passes("check@x86_64", 9100, said, Vec::new())
            .passes("check@aarch64", 12_300, said, Vec::new())
    }

    pub fn signed(self) -> Self {
        let millrace_core::build::Stage::Signing { order } = &self.build.stage else {
            panic!("it is {}", self.build.word())
        };
        let signed = |file: &millrace_core::order::OrderedFile| SignedFile {
            unsigned: file.digest,
            signed: Digest::of(file.name.as_bytes()),
            size: file.size,
        };
        let event = Event::Signed {
            order: *order,
            files: self.build.releasable().iter().map(signed).collect(),
        };
        self.after(600).event(event)
    }

    pub fn released(self) -> Self {
        let millrace_core::build::Stage::Releasing { order } = &self.build.stage else {
            panic!("it is {}", self.build.word())
        };
        let event = Event::Released {
            order: *order,
            generation: Digest::of(b"generation"),
            number: 42,
        };
        self.after(800).event(event)
    }
}
