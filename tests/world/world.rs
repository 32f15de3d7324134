//! The whole line in one process and one thread: a forge, every function as `millrace up` wires it, stores in memory, scripted
//! runners, and a clock that moves when told.

use crate::folder::in_memory;
use crate::forge::{COMMITTED_S, Delivery, Forge};
use crate::line::platform;
use crate::runner::{Runner, Script, TaskAnswer, past, spec};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use millrace_cli::pump::{self, Functions};
use millrace_cli::up::LocalSeal;
use millrace_core::build::{Build, Event};
use millrace_core::order::Effect;
use millrace_core::ownership::{ReleaseTarget, RepositoryNames};
use millrace_core::platform::{Platform, RELEASED_REPOSITORY, Repository};
use millrace_core::plugin::Plugin;
use millrace_core::protocol::Offer;
use millrace_core::push::{Package, PushRecord, PushState};
use millrace_core::runner::Runner as RunnerRecord;
use millrace_core::{Arch, Digest, PlatformName, Timestamp};
use millrace_listener::{Clock, Listener, forge::Forge as Kind};
use millrace_orchestrator::Desk;
use millrace_releaser::Generation;
use millrace_signer::{Algorithm, LocalKeys};
use millrace_source::Fetcher;
use millrace_store::memory::MemoryStore;
use millrace_store::ownership::Inventory;
use millrace_store::packages::register;
use millrace_store::records::{all, create, replace};
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{AdvanceError, Message, StateStore, Table, advance, chain};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// When the world begins, in milliseconds since 1970: after everything that the forge commits.
const BEGINNING: u64 = 1_763_930_000_000;

/// How long a message stays out before it is delivered again, in milliseconds of the world's clock.
pub const OUT_MS: u64 = 30_000;

/// Messages taken at a time.
const MESSAGES: usize = 16;

/// What acts on effects here.
pub type Line = Functions<MemoryStore, LocalKeys, LocalSeal>;

/// Everything.
pub struct World {
    pub store: MemoryStore,
    /// Where packages are pushed to.
    pub forge: Forge,
    /// What could not be done so far, in the pump's words.
    pub problems: Vec<String>,
    folder: TempDir,
    runtime: Runtime,
    clock: Arc<AtomicU64>,
    fetcher: Fetcher,
    keys: LocalKeys,
    runners: Vec<Runner>,
    silent: BTreeSet<String>,
    scripts: BTreeMap<String, Script>,
    commits: u64,
    ends_early: Option<&'static str>,
}

impl World {
    /// A world with the platform `el-9` on these architectures, as TOML has them, and a runner for each: `x86_64-1`.
    pub fn new(architectures: &str) -> Self {
        let folder = in_memory();
        let keys = keys(&folder.path().join("keys"));
        std::fs::create_dir(folder.path().join("incoming")).unwrap();
        let mut world = Self {
            store: MemoryStore::new(),
            forge: Forge::new(),
            problems: Vec::new(),
            fetcher: Fetcher::new(folder.path().join("scratch"), Vec::new()),
            keys,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            clock: Arc::new(AtomicU64::new(BEGINNING)),
            folder,
            runners: Vec::new(),
            silent: BTreeSet::new(),
            scripts: BTreeMap::new(),
            commits: 0,
            ends_early: None,
        };
        world.add_platform(&Platform {
            branches: vec!["main".to_owned()],
            ..platform(architectures)
        });
        for arch in platform(architectures).architectures {
            world.add_runner(&format!("{arch}-1"), arch);
        }
        world
    }

    fn add_platform(&mut self, platform: &Platform) {
        let line = self.line(self.store.clone());
        self.run(replace(
            &self.store,
            Table::Platform,
            platform.name.as_str(),
            platform,
        ))
        .unwrap();
        let target = ReleaseTarget::of_platform(&platform.name);
        let inventory = Inventory::of_new(target, self.now());
        self.run(create(&self.store, &inventory)).unwrap();
        self.run(millrace_store::repository_names::keep(
            platform,
            &RepositoryNames::default(),
            &self.store,
            &self.store,
            self.now(),
        ))
        .unwrap();
        self.run(millrace_releaser::prepare(
            platform,
            &line.seal,
            &self.store,
            self.now(),
        ))
        .unwrap();
        for name in ["source", "rpm", "check"] {
            let plugin = Plugin {
                name: name.parse().unwrap(),
                digest: Digest::of(name.as_bytes()),
                size: 1,
            };
            self.run(replace(&self.store, Table::Plugin, name, &plugin))
                .unwrap();
        }
    }

    /// Adds a runner.
    pub fn add_runner(&mut self, name: &str, arch: Arch) -> Runner {
        let (runner, token) = Runner::new(name, arch);
        let record = RunnerRecord::new(&name.parse().unwrap(), arch, &token, self.now());
        assert!(self.run(create(&self.store, &record)).unwrap());
        self.runners.push(runner.clone());
        runner
    }

    /// Runs something to its end.
    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// Starts something that goes on beside what is run.
    pub fn spawn<T: Send + 'static>(
        &self,
        what: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(what)
    }

    /// The world's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::Relaxed))
    }

    /// Time passes.
    pub fn pass_ms(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// The clock was ahead, and somebody sets it back; the line looks after what it gave by it.
    pub fn set_back_ms(&self, ms: u64) {
        self.clock.fetch_sub(ms, Ordering::Relaxed);
        self.run(millrace_orchestrator::clock_set_back(
            &self.store,
            self.now(),
        ))
        .unwrap();
    }

    /// The same clock for others who want to read it.
    pub fn clock(&self) -> Clock {
        let clock = Arc::clone(&self.clock);
        Arc::new(move || Timestamp(clock.load(Ordering::Relaxed)))
    }

    /// What acts on effects, over a store of this world.
    pub fn line(&self, store: MemoryStore) -> Line {
        Functions {
            store,
            fetcher: self.fetcher.clone(),
            keys: self.keys.clone(),
            seal: LocalSeal(self.keys.clone()),
            ready: Arc::default(),
            posted: Arc::default(),
            clock: self.clock(),
        }
    }

    /// The lease desk, over a store of this world.
    pub fn desk(&self, store: MemoryStore) -> Router {
        let released = |platform: &PlatformName| Repository {
            id: RELEASED_REPOSITORY.to_owned(),
            baseurl: Some(format!("http://world/repo/{platform}")),
            mirrorlist: None,
            gpgkey: None,
            priority: 10,
        };
        millrace_orchestrator::router(Desk {
            state: store.clone(),
            blobs: store,
            clock: self.clock(),
            ready: Arc::default(),
            released: Arc::new(released),
            incoming: self.folder.path().join("incoming"),
            paces: None,
        })
    }

    /// Commits a package's next release, whose spec says these things besides, to a branch; what the forge says of it.
    pub fn commit(&mut self, package: &str, branch: &str, besides: &str) -> Delivery {
        self.commits += 1;
        let files = [(
            format!("{package}.spec"),
            spec(package, self.commits, besides),
        )];
        self.commit_files(package, branch, &files)
    }

    /// Commits exactly these files to a branch of a package; what the forge says of it.
    pub fn commit_files(
        &mut self,
        package: &str,
        branch: &str,
        files: &[(String, String)],
    ) -> Delivery {
        let commit = self.forge.commit(package, branch, files);
        let clone_url = self.forge.clone_url(package);
        let registered = Package::new(package.parse().unwrap(), clone_url, Vec::new(), self.now());
        self.run(register(&self.store, registered)).unwrap();
        self.forge.delivery(package, branch, &commit)
    }

    /// Lets the listener over a store of this world hear a delivery; the status code and the body.
    pub fn hear(
        &self,
        store: MemoryStore,
        delivery: &Delivery,
    ) -> impl Future<Output = (StatusCode, String)> + use<> {
        let secrets = [(Kind::Gitea, Forge::secret())].into();
        let listener = millrace_listener::router(Listener {
            state: store,
            secrets,
            clock: self.clock(),
        });
        let request = Request::post("/hooks/gitea")
            .header("content-type", "application/json")
            .header("x-gitea-event", "push")
            .header("x-gitea-delivery", &delivery.id)
            .header("x-gitea-signature", Forge::secret().sign(&delivery.body))
            .body(Body::from(delivery.body.clone()))
            .unwrap();
        async move {
            let response = listener.oneshot(request).await.unwrap();
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20)
                .await
                .unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    }

    /// The forge delivers, and the line takes it.
    pub fn deliver(&self, delivery: &Delivery) -> String {
        let (status, body) = self.run(self.hear(self.store.clone(), delivery));
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        body
    }

    /// Somebody pushes a package's next release.
    pub fn push(&mut self, package: &str) -> Delivery {
        self.push_with(package, "")
    }

    /// The same with a spec that says these things besides.
    pub fn push_with(&mut self, package: &str, besides: &str) -> Delivery {
        let delivery = self.commit(package, "main", besides);
        self.deliver(&delivery);
        delivery
    }

    /// Takes messages that are due.
    pub fn messages(&self) -> Vec<Message> {
        self.run(
            self.store
                .take(MESSAGES, self.now(), self.now().plus_ms(OUT_MS)),
        )
        .unwrap()
    }

    /// Delivers what is due until nothing is, as the pump does, without its pauses.
    pub fn carry(&mut self) {
        let line = self.line(self.store.clone());
        loop {
            let messages = self.messages();
            assert!(
                self.run(pump::give_up_dead_letters(&line)),
                "dead letters could not be given up"
            );
            if messages.is_empty() {
                return;
            }
            for message in messages {
                match self.run(pump::carry_out(&line, &message)) {
                    Ok(()) => {}
                    Err(error) if message.deliveries < DELIVERIES_MAX => {
                        self.problems.push(chain(&error));
                    }
                    Err(error) => self
                        .run(pump::give_up(&line, &message, &chain(&error)))
                        .unwrap(),
                }
            }
        }
    }

    /// Lets what time alone decides happen.
    pub fn tick(&self) {
        self.run(millrace_orchestrator::tick(&self.store, self.now()))
            .unwrap();
    }

    /// A runner will answer so for a task of a package.
    pub fn script(&mut self, package: &str, task: &str, script: Script) {
        self.scripts.insert(format!("{package} {task}"), script);
    }

    /// A runner says nothing more, and asks for nothing.
    pub fn falls_silent(&mut self, runner: &str) {
        self.silent.insert(runner.to_owned());
    }

    /// One of its runners.
    pub fn runner(&self, name: &str) -> Runner {
        self.runners
            .iter()
            .find(|runner| runner.name == name)
            .unwrap_or_else(|| panic!("no runner {name}"))
            .clone()
    }

    /// A runner takes a task.
    pub fn take(&self, runner: &str) -> Option<Offer> {
        let (status, offer) = self.run(self.runner(runner).ask(self.desk(self.store.clone())));
        assert!(
            matches!(status, StatusCode::OK | StatusCode::NO_CONTENT),
            "{status}"
        );
        offer
    }

    /// A runner works on what it took, as it is scripted.
    pub fn answer(&self, runner: &str, offer: &Offer) -> TaskAnswer {
        let script = self
            .scripts
            .get(&format!("{} {}", offer.work.package, offer.work.task))
            .copied()
            .unwrap_or_default();
        self.run(
            self.runner(runner)
                .work(self.desk(self.store.clone()), offer, script),
        )
        .unwrap()
    }

    /// A runner hands over what it made, and answers.
    pub fn hand_over(&self, runner: &str, answer: &TaskAnswer) -> StatusCode {
        self.run(
            self.runner(runner)
                .answer(self.desk(self.store.clone()), answer),
        )
    }

    /// Everything goes its way: effects are delivered and runners work, until nothing is left for them to do.
    pub fn work(&mut self) {
        loop {
            self.carry();
            let awake = self
                .runners
                .iter()
                .map(|runner| runner.name.clone())
                .filter(|name| !self.silent.contains(name));
            let took: Vec<(String, Offer)> = awake
                .filter_map(|name| Some((name.clone(), self.take(&name)?)))
                .collect();
            if took.is_empty() {
                return;
            }
            for (runner, offer) in took {
                assert_eq!(
                    self.hand_over(&runner, &self.answer(&runner, &offer)),
                    StatusCode::OK
                );
            }
        }
    }

    /// Somebody stops the build of a package.
    pub fn cancel(&self, package: &str) -> Result<(), AdvanceError> {
        let build = self.build(package);
        self.run(advance::<Build>(
            &self.store,
            &build.id,
            Event::Cancel {
                by: "dana".parse().unwrap(),
            },
            self.now(),
        ))
        .map(drop)
    }

    /// The latest build of a package.
    pub fn build(&self, package: &str) -> Build {
        let of_package = |build: &Build| build.push.announced.package.as_str() == package;
        let builds = self.builds().into_iter().filter(of_package);
        builds
            .max_by_key(|build| build.created)
            .unwrap_or_else(|| panic!("no build of {package}"))
    }

    /// All builds, in the order in which they were planned.
    pub fn builds(&self) -> Vec<Build> {
        let mut builds: Vec<Build> = self.run(all(&self.store, Table::Build)).unwrap();
        builds.sort_by_key(|build| (build.created, build.push.announced.id.clone()));
        builds
    }

    /// All pushes, in the order in which they were heard.
    pub fn pushes(&self) -> Vec<PushRecord> {
        let mut pushes: Vec<PushRecord> = self.run(all(&self.store, Table::Push)).unwrap();
        pushes.sort_by_key(|push| (push.announced.received, push.announced.id.clone()));
        pushes
    }

    /// What is released now.
    pub fn generation(&self) -> Generation {
        let platform: PlatformName = "el-9".parse().unwrap();
        self.run(millrace_releaser::current(&platform, &self.store))
            .unwrap()
            .unwrap()
            .0
    }

    /// Everything of note: the results of pushes, builds and their tasks, and what is in which repository.
    pub fn told(&self) -> String {
        let mut told = Vec::new();
        for push in self.pushes() {
            let of = &push.announced;
            told.push(match push.state {
                PushState::Planned { builds } => {
                    format!(
                        "push of {} to {}: builds planned: {}",
                        of.package,
                        of.reference,
                        builds.len()
                    )
                }
                PushState::Refused { reason } => format!(
                    "push of {} to {}: refused: {reason}",
                    of.package, of.reference
                ),
                PushState::Fetching | PushState::Fetched => {
                    format!("push of {} to {}: on its way", of.package, of.reference)
                }
            });
        }
        for build in self.builds() {
            let because = |reason: Option<&str>| {
                reason
                    .map(|reason| format!(": {reason}"))
                    .unwrap_or_default()
            };
            told.push(format!(
                "build of {}: {}{}",
                build.push.announced.package,
                build.word(),
                because(build.reason())
            ));
            for task in &build.tasks {
                let past = if task.attempts.len() > 1 {
                    format!(" ({})", past(&build, &task.id.to_string()))
                } else {
                    String::new()
                };
                told.push(format!(
                    "  {} {}{}{past}",
                    task.id,
                    task.word(),
                    because(task.reason())
                ));
            }
        }
        let generation = self.generation();
        told.push(format!("generation {}", generation.number));
        for (repository, packages) in generation
            .packages()
            .filter(|(_, packages)| !packages.is_empty())
        {
            told.push(format!(
                "  {repository}: {}",
                packages.keys().cloned().collect::<Vec<_>>().join(" ")
            ));
        }
        without_digests(&told.join("\n").replace(&self.forge.place(), "FORGE"))
    }

    /// What somebody would still have to do, or forgot to clean up.
    pub fn left_over(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .store
            .effects()
            .iter()
            .map(|effect| format!("a message: {}", words(effect)))
            .collect();
        let pending = |index: &String| {
            index == "leased" || index.starts_with("ready/") || index.starts_with("held/")
        };
        left.extend(
            self.store
                .indexes()
                .into_iter()
                .filter(pending)
                .map(|index| format!("index entries in {index}")),
        );
        for build in self.builds() {
            let leased = build.tasks.iter().filter(|task| task.lease().is_some());
            left.extend(
                leased.map(|task| {
                    format!("a lease of {} of {}", task.id, build.push.announced.package)
                }),
            );
        }
        for folder in ["scratch", "incoming"] {
            let files = std::fs::read_dir(self.folder.path().join(folder))
                .into_iter()
                .flatten()
                .count();
            if files > 0 {
                left.push(format!("{files} files in {folder}"));
            }
        }
        left
    }

    /// Says why the story ends in the middle.
    pub fn ends_early(&mut self, why: &'static str) {
        self.ends_early = Some(why);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() || self.ends_early.is_some() {
            return;
        }
        let left = self.left_over();
        assert!(
            left.is_empty(),
            "the world ends with something left over: {left:?}. Carry it on, or say why with `ends_early`"
        );
    }
}

/// An effect in a few words.
pub fn words(effect: &Effect) -> String {
    match effect {
        Effect::Fetch(announced) => format!("fetch {}", announced.id),
        Effect::Plan(push) => format!("plan {}", push.announced.id),
        Effect::Ready { build, task } => format!("ready {task} of {build}"),
        Effect::Sign(order) => format!("sign {}", order.build),
        Effect::Release(order) => format!("release {}", order.build),
        Effect::FetchNames { platform } => format!("fetch the names of {platform}"),
        Effect::ClaimReleased { platform } => format!("claim what {platform} released"),
        Effect::Ended { build } => format!("ended {build}"),
        Effect::Unreadable(problem) => format!("unreadable: {problem}"),
    }
}

/// The signing key, made once a process, in a folder of this world's own.
fn keys(folder: &Path) -> LocalKeys {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let (keys, path) = (LocalKeys::open(folder).unwrap(), folder.join("default.key"));
    let key = KEY.get_or_init(|| {
        let created_s = COMMITTED_S.unsigned_abs();
        keys.create(
            &"default".parse().unwrap(),
            "World <world@example.org>",
            Algorithm::Ed25519,
            created_s,
        )
        .unwrap();
        std::fs::read(&path).unwrap()
    });
    if !path.exists() {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(key).unwrap();
    }
    keys
}

/// A text without digests: they would say nothing to people.
fn without_digests(text: &str) -> String {
    const DIGITS: usize = 64;
    let digits =
        |word: &str| word.len() >= DIGITS && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut words = BTreeSet::new();
    words.extend(
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| digits(word)),
    );
    words
        .into_iter()
        .fold(text.to_owned(), |text, word| text.replace(word, "SHA256"))
}
