//! Made-up records in every state there is, made by the rules themselves.

use axum::Router;
use millrace_core::build::{Build, Event};
use millrace_core::log::{Chunk, LogIndex};
use millrace_core::order::SignedFile;
use millrace_core::plan::plan;
use millrace_core::platform::{PackageConfig, Platform};
use millrace_core::push::{Announced, Commit, Package, Push, PushRecord, PushState, Wish};
use millrace_core::rpm::Rpm;
use millrace_core::task::{Artifact, Blame, Failure, LEASE_MS, Machine, Outcome};
use millrace_core::{Arch, Digest, LeaseNumber, PushId, RunnerName, Timestamp};
use millrace_store::memory::MemoryStore;
use millrace_store::records::put;
use millrace_store::{BlobStore, Expect, IndexEntry, Key, StateStore, Stored, Table, Write};
use millrace_web::{Web, router};
use std::sync::Arc;

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

pub struct World {
    pub store: MemoryStore,
}

/// A build as it is being told.
pub struct Told {
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
        package: package.parse().unwrap(),
        clone_url: format!("https://forge.example/rpms/{package}.git"),
        reference: "refs/heads/c9s".to_owned(),
        commit: Commit::new(&Digest::of(format!("{package}{minutes_ago}").as_bytes()).hex()[..40])
            .unwrap(),
        pusher: "dana".to_owned(),
        received,
        wish: Wish::default(),
    }
}

pub fn told(package: &str, subject: &str, minutes_ago: u64) -> Told {
    let push = Push {
        announced: announced(package, minutes_ago),
        committed_s: NOW.0 / 1000 - 90_000,
        subject: subject.to_owned(),
        tree: Digest::of(b"tree"),
        tree_bytes: 4,
        spec: format!("{package}.spec"),
        sources: Vec::new(),
        config: String::new(),
    };
    let plugins = ["source", "rpm", "check"]
        .map(|name| (name.parse().unwrap(), Digest::of(name.as_bytes())))
        .into();
    let now = push.announced.received.plus_ms(2000);
    Told {
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

fn bytes_of(package: &str, artifact: &Artifact) -> Vec<u8> {
    let rpm = artifact.rpm.as_ref().unwrap();
    format!("{package} {} {}", artifact.name, rpm.arch)
        .repeat(900)
        .into_bytes()
}

impl Told {
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
        self.take_on(task, runner, Machine::of(arch))
    }

    pub fn take_on(self, task: &str, runner: &str, machine: Machine) -> Self {
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

/// One build in every state, each of a package of its own.
pub fn every_state() -> Vec<Build> {
    let refusal = |told: Told| match &told.build.stage {
        millrace_core::build::Stage::Signing { order } => Event::SignRefused {
            order: *order,
            reason: "there is no key `almalinux-9`: `millrace key add almalinux-9` makes one"
                .to_owned(),
        },
        _ => panic!("it is {}", told.build.word()),
    };
    let release_refusal = |told: Told| match &told.build.stage {
        millrace_core::build::Stage::Releasing { order } => Event::ReleaseRefused {
            order: *order,
            reason: "zlib-1.3.1-3.el9.x86_64 is there already with other bytes: raise its release"
                .to_owned(),
        },
        _ => panic!("it is {}", told.build.word()),
    };
    let told_all = [
        told("expat", "Update to 2.6.4", 3),
        told("pigz", "Build with the zlib that we ship", 4).sourced().take("rpm@x86_64", "intel-1"),
        told("curl", "Backport the fix for CVE-2026-1234", 5).sourced().take("rpm@aarch64", "arm-1").after(LEASE_MS + 1).event(Event::Tick).take("rpm@aarch64", "arm-2"),
        told("lz4", "Rebuild", 6).checked(),
        told("xz", "Reproducible tarball", 9).checked().signed(),
        told("zlib", "Update to 1.3.1, drop the patch that upstream took (#2291104)", 12).checked().signed().released(),
        told("nano", "<script>alert(1)</script> & \"quotes\"", 31)
            .sourced()
            .fails("rpm@x86_64", 21_500, Blame::Package, "rpmbuild: error: Bad exit status from %build\nnano.c:812: error: ‘struct winsize’ has no member ‘ws_rows’\nmake[2]: *** [Makefile:1180: nano.o] Error 1")
            .passes("rpm@aarch64", 30_000, "2 packages", vec![file("nano", "nano", "aarch64")])
            .passes("check@aarch64", 9000, "installs, 40 files verify, removes", Vec::new()),
        told("bzip2", "Sign me", 75).checked().event_with(refusal),
        told("gzip", "Release me", 130).checked().signed().event_with(release_refusal),
        told("rust", "Never ending story", 400)
            .sourced()
            .fails("rpm@x86_64", 3000, Blame::Environment, "cannot reach https://mirrors.example: connection timed out")
            .take_later("rpm@x86_64", "intel-2")
            .after(LEASE_MS + 1)
            .event(Event::Tick)
            .take("rpm@x86_64", "intel-3")
            .event(Event::Return { runner: RunnerName::new("intel-3").unwrap() })
            .passes("rpm@aarch64", 12_000, "1 package", Vec::new())
            .passes("check@aarch64", 2000, "installs, removes", Vec::new()),
        told("sbsigntools", "ExclusiveArch: riscv64", 1500).excluded(),
        told("tzdata", "Nothing to release", 2900).passes("source", 900, "only a source", Vec::new()).quiet(),
        told("httpd", "Oops, wrong branch", 4400).sourced().take("rpm@x86_64", "intel-1").after(9000).event(Event::Cancel { by: "erin".parse().unwrap() }),
    ];
    told_all.into_iter().map(|told| told.build).collect()
}

impl Told {
    fn event_with(self, make: impl FnOnce(Self) -> Event) -> Self {
        let event = make(Self {
            build: self.build.clone(),
            now: self.now,
        });
        self.after(500).event(event)
    }

    fn excluded(self) -> Self {
        let mut source = file("sbsigntools", "sbsigntools", "src");
        source.rpm.as_mut().unwrap().exclusive_arch = vec!["riscv64".to_owned()];
        self.passes(
            "source",
            1200,
            "sbsigntools-1.3.1-3.el9.src.rpm",
            vec![source],
        )
    }

    fn quiet(self) -> Self {
        let said = "no packages";
        let done = self.passes("rpm@x86_64", 400, said, Vec::new()).passes(
            "rpm@aarch64",
            500,
            said,
            Vec::new(),
        );
        done.passes("check@x86_64", 100, said, Vec::new()).passes(
            "check@aarch64",
            100,
            said,
            Vec::new(),
        )
    }
}

impl World {
    pub fn empty() -> Self {
        Self {
            store: MemoryStore::new(),
        }
    }

    /// A line with a platform, a build in every state, a push that is being fetched and one that was refused.
    pub async fn busy() -> Self {
        let world = Self::empty();
        put(
            &world.store,
            Table::Platform,
            "almalinux-9",
            Expect::Absent,
            &platform(),
            Vec::new(),
        )
        .await
        .unwrap();
        for build in every_state() {
            world.keep(&build).await;
        }
        world
            .keep_push(&PushRecord {
                announced: announced("perl", 0),
                state: PushState::Fetching,
            })
            .await;
        let reason = "sources: zstd-1.5.7.tar.gz has the digest sha512:9a31…, and `sources` says sha512:77c0….\nUpload it again with `fedpkg new-sources`, or mend the line in `sources`.";
        let refused = PushRecord {
            announced: announced("zstd", 20),
            state: PushState::Refused {
                reason: reason.to_owned(),
            },
        };
        world.keep_push(&refused).await;
        world
    }

    pub async fn keep(&self, build: &Build) {
        let announced = &build.push.announced;
        let kept = build.write(Expect::Absent).unwrap();
        self.store.save(kept.into()).await.unwrap();
        self.keep_push(&PushRecord {
            announced: announced.clone(),
            state: PushState::Planned {
                builds: vec![build.id.clone()],
            },
        })
        .await;
        for artifact in build.tasks.iter().flat_map(|task| task.artifacts()) {
            self.store
                .put(bytes_of(announced.package.as_str(), artifact))
                .await
                .unwrap();
        }
        for task in &build.tasks {
            for number in task
                .attempts
                .iter()
                .map(|attempt| attempt.number)
                .chain(task.lease().map(|lease| lease.number))
            {
                let text = format!(
                    "+ rpmbuild --rebuild {}.src.rpm\n\u{1b}[32mchecking for gcc... gcc\u{1b}[0m\n<b>not bold</b>\n",
                    announced.package
                );
                self.keep_log(
                    &format!("{}/{}/{number}", build.id, task.id),
                    &[text.as_bytes(), b"the end\n"],
                )
                .await;
            }
        }
    }

    pub async fn keep_push(&self, record: &PushRecord) {
        let announced = &record.announced;
        let kept = record.write(Expect::Absent).unwrap();
        self.store.save(kept.into()).await.unwrap();
        let Announced {
            package: name,
            clone_url,
            received: registered,
            ..
        } = announced.clone();
        let package = Package::new(name, clone_url, Vec::new(), registered);
        // A package that was pushed to before is registered already.
        let _ = put(
            &self.store,
            Table::Package,
            package.name.as_str(),
            Expect::Absent,
            &package,
            Vec::new(),
        )
        .await;
    }

    /// A record becomes one that cannot be read, and is found as before.
    pub async fn spoil(&self, table: Table, id: &str, index_entries: Vec<IndexEntry>) {
        let key = Key::new(table, id);
        let expect = self
            .store
            .load(&key)
            .await
            .unwrap()
            .map_or(Expect::Absent, |record| Expect::Version(record.version));
        let spoilt = Write {
            key,
            expect,
            body: Some("\"secret\"".to_owned()),
            index_entries,
        };
        self.store.save(spoilt.into()).await.unwrap();
    }

    pub async fn keep_log(&self, id: &str, chunks: &[&[u8]]) {
        let mut index = LogIndex::default();
        for chunk in chunks {
            index.chunks.push(Chunk {
                size: chunk.len() as u64,
                digest: self.store.put(chunk.to_vec()).await.unwrap(),
            });
        }
        millrace_store::records::replace(&self.store, Table::Log, id, &index)
            .await
            .unwrap();
    }

    pub async fn append_to_log(&self, id: &str, bytes: &[u8]) {
        let (mut index, _): (LogIndex, _) =
            millrace_store::records::get(&self.store, Table::Log, id)
                .await
                .unwrap()
                .unwrap();
        let chunk = Chunk {
            size: bytes.len() as u64,
            digest: self.store.put(bytes.to_vec()).await.unwrap(),
        };
        assert!(index.append(index.size(), chunk).unwrap());
        millrace_store::records::replace(&self.store, Table::Log, id, &index)
            .await
            .unwrap();
    }

    pub fn router(&self) -> Router {
        self.router_of(None)
    }

    /// The routes where a log comes in parts of so many bytes.
    pub fn router_of(&self, part_bytes: Option<u64>) -> Router {
        router(Web {
            state: self.store.clone(),
            blobs: self.store.clone(),
            clock: Arc::new(|| NOW),
            part_bytes,
        })
    }
}
