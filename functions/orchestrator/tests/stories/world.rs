//! A desk over a store in memory, builds that wait for somebody, and runners who speak to it as real ones do.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request};
use millrace_core::build::Build;
use millrace_core::plan::plan;
use millrace_core::platform::{PackageConfig, Platform, RELEASED_REPOSITORY, Repository};
use millrace_core::protocol::{Ask, Attend, Attended, Offer, Problem, Renewal, Renewed, Report};
use millrace_core::push::{Announced, Push};
use millrace_core::queue::Capacity;
use millrace_core::runner::{Runner as RunnerRecord, Token};
use millrace_core::task::{Artifact, LeaseId, Outcome, TaskId};
use millrace_core::testing;
use millrace_core::{Arch, Digest, LeaseNumber, PlatformName, PushId, Timestamp};
use millrace_orchestrator::{Desk, Paces, router};
use millrace_store::builds::load_build;
use millrace_store::memory::MemoryStore;
use millrace_store::records::create;
use millrace_store::{BlobStore, Expect, Key, StateStore, Stored, Table, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::sync::Notify;
use tower::ServiceExt;

/// When stories begin.
pub const BEGIN: Timestamp = Timestamp(1_795_464_000_000);

/// Bytes that a task's folder, and so a file of it, may have.
pub const DISK_BYTES: usize = 1000;

/// Bytes that a task's log may have.
pub const LOG_BYTES: usize = 100;

/// A platform without tests, whose tasks may do little.
pub fn platform() -> Platform {
    let mut platform = Platform {
        name: "el9".parse().unwrap(),
        key: "el9".parse().unwrap(),
        repositories: Vec::new(),
        ..testing::platform(r#""x86_64", "aarch64""#)
    };
    platform.limits.disk_bytes = DISK_BYTES as u64;
    platform.limits.log_bytes = LOG_BYTES as u64;
    platform.steps.retain(|step| step.name.as_str() != "check");
    platform
}

/// A push of a package, with a `millrace.toml`.
pub fn push(package: &str, config: &str) -> Push {
    let push = testing::push(package, 1);
    Push {
        announced: Announced {
            id: PushId::of_delivery("gitea", package),
            received: BEGIN,
            ..push.announced
        },
        sources: Vec::new(),
        config: config.to_owned(),
        ..push
    }
}

/// The desk, given where it keeps what it knows.
pub fn desk<S: StateStore>(
    state: S,
    blobs: MemoryStore,
    clock: Arc<AtomicU64>,
    ready: Arc<Notify>,
    ask_again_s: Option<u32>,
    incoming: &TempDir,
) -> Router {
    let released = |_: &PlatformName| Repository {
        id: RELEASED_REPOSITORY.to_owned(),
        baseurl: Some("http://line.example/".to_owned()),
        mirrorlist: None,
        gpgkey: None,
        priority: 10,
    };
    router(Desk {
        state,
        blobs,
        clock: Arc::new(move || Timestamp(clock.load(Ordering::Relaxed))),
        ready,
        released: Arc::new(released),
        incoming: incoming.path().to_owned(),
        paces: ask_again_s.map(|ask_again_s| Paces {
            ask_again_s,
            log_pause_s: 30,
            renew_s: 7,
        }),
    })
}

pub struct World {
    pub store: MemoryStore,
    pub ready: Arc<Notify>,
    pub incoming: TempDir,
    clock: Arc<AtomicU64>,
    router: Router,
}

impl World {
    pub fn new() -> Self {
        let (store, clock, ready) = (
            MemoryStore::new(),
            Arc::new(AtomicU64::new(BEGIN.0)),
            Arc::new(Notify::new()),
        );
        let incoming = tempfile::tempdir().unwrap();
        let router = desk(
            store.clone(),
            store.clone(),
            clock.clone(),
            ready.clone(),
            None,
            &incoming,
        );
        Self {
            store,
            ready,
            incoming,
            clock,
            router,
        }
    }

    /// The same line with a desk that answers at once.
    pub fn that_keeps_nobody_waiting(self) -> Self {
        let (store, clock, ready) = (self.store.clone(), self.clock.clone(), self.ready.clone());
        let router = desk(store.clone(), store, clock, ready, Some(10), &self.incoming);
        Self { router, ..self }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::Relaxed))
    }

    pub fn pass_ms(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// A runner that was added, and how it speaks.
    pub async fn runner(&self, name: &str, arch: Arch) -> Runner {
        let token = Token::from_random(
            *Digest::of(name.as_bytes())
                .hex()
                .as_bytes()
                .first_chunk()
                .unwrap(),
        );
        self.let_in(self.record(name, arch, &token)).await;
        self.speaking(name, arch, &[], &token)
    }

    /// A runner that emulates other architectures, and may.
    pub async fn emulating(&self, name: &str, arch: Arch, emulates: &[Arch]) -> Runner {
        let token = Token::from_random(
            *Digest::of(name.as_bytes())
                .hex()
                .as_bytes()
                .first_chunk()
                .unwrap(),
        );
        self.let_in(RunnerRecord {
            emulates: emulates.to_vec(),
            ..self.record(name, arch, &token)
        })
        .await;
        self.speaking(name, arch, emulates, &token)
    }

    fn record(&self, name: &str, arch: Arch, token: &Token) -> RunnerRecord {
        RunnerRecord::new(&name.parse().unwrap(), arch, token, self.now())
    }

    async fn let_in(&self, runner: RunnerRecord) {
        assert!(create(&self.store, &runner).await.unwrap());
    }

    fn speaking(&self, name: &str, arch: Arch, emulates: &[Arch], token: &Token) -> Runner {
        let (name, token) = (name.to_owned(), token.reveal().to_owned());
        Runner {
            name,
            arch,
            emulates: emulates.to_vec(),
            token,
            router: self.router.clone(),
            capacity: Capacity::default(),
        }
    }

    /// Machines that share a token, and how each of them speaks.
    pub async fn shared(&self, name: &str, arch: Arch, own: [&str; 2]) -> [Runner; 2] {
        let token = Token::from_random(
            *Digest::of(name.as_bytes())
                .hex()
                .as_bytes()
                .first_chunk()
                .unwrap(),
        );
        self.let_in(RunnerRecord {
            shared: true,
            ..self.record(name, arch, &token)
        })
        .await;
        own.map(|own| self.speaking(&format!("{name}.{own}"), arch, &[], &token))
    }

    /// A build of a package whose source may be taken now. A later one is a millisecond younger.
    pub async fn build(&self, package: &str) -> Build {
        let build = self.planned(package);
        self.keep(&build).await;
        build
    }

    pub fn planned(&self, package: &str) -> Build {
        self.pass_ms(1);
        let plugins = ["source", "rpm"]
            .map(|name| (name.parse().unwrap(), Digest::of(name.as_bytes())))
            .into();
        plan(
            &push(package, ""),
            &PackageConfig::default(),
            &platform(),
            &plugins,
            self.now(),
        )
        .unwrap()
    }

    pub async fn keep(&self, build: &Build) {
        let kept = build.write(Expect::Absent).unwrap();
        self.store.save(kept.into()).await.unwrap();
    }

    /// The record of a build, kept already or not, becomes one that nobody can read; it is found as before.
    pub async fn spoil(&self, build: &Build) {
        let key = Key::new(Table::Build, build.id.as_str());
        let found = self.store.load(&key).await.unwrap();
        let expect = found.map_or(Expect::Absent, |record| Expect::Version(record.version));
        let spoilt = Write {
            key,
            expect,
            body: Some("{\"id\":".to_owned()),
            index_entries: build.index_entries(),
        };
        self.store.save(spoilt.into()).await.unwrap();
    }

    pub async fn now_is(&self, build: &Build) -> Build {
        load_build(&self.store, &build.id).await.unwrap().unwrap().0
    }

    /// Whether these bytes are kept.
    pub async fn keeps(&self, bytes: &[u8]) -> bool {
        self.store.size(&Digest::of(bytes)).await.unwrap().is_some()
    }
}

pub struct HttpAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl HttpAnswer {
    /// The status, and of a refusal its word and its sentence.
    pub fn told(&self) -> (u16, String) {
        let problem: Option<Problem> = serde_json::from_slice(&self.body).ok();
        (
            self.status,
            problem.map_or_else(String::new, |problem| {
                format!("{}: {}", problem.problem, problem.message)
            }),
        )
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
pub struct Runner {
    pub name: String,
    pub arch: Arch,
    pub emulates: Vec<Arch>,
    pub token: String,
    pub router: Router,
    /// What its machine has.
    pub capacity: Capacity,
}

impl Runner {
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> HttpAnswer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/runner/v1/{path}"));
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, body) = self
            .router
            .clone()
            .oneshot(request.body(Body::from(body)).unwrap())
            .await
            .unwrap()
            .into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        HttpAnswer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    /// Asks what somebody wants of the sandboxes that it holds.
    pub async fn attends(&self, attend: &Attend) -> Attended {
        let answer = self.post("holds", attend).await;
        assert_eq!(answer.status, 200, "{:?}", answer.told());
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub async fn post(&self, what: &str, body: &impl serde::Serialize) -> HttpAnswer {
        self.send(
            Method::POST,
            what,
            &[("content-type", "application/json")],
            serde_json::to_vec(body).unwrap(),
        )
        .await
    }

    pub async fn ask(&self, wait_s: u32) -> HttpAnswer {
        let (runner, emulates) = (self.name.parse().unwrap(), self.emulates.clone());
        self.post(
            "lease",
            &Ask {
                runner,
                arch: self.arch,
                emulates,
                wait_s,
                capacity: self.capacity.clone(),
            },
        )
        .await
    }

    /// The offer that is there now, if there is one.
    pub async fn takes(&self) -> Option<Offer> {
        let answer = self.ask(0).await;
        match answer.status {
            200 => Some(serde_json::from_slice(&answer.body).unwrap()),
            204 => None,
            _ => panic!("{:?}", answer.told()),
        }
    }

    /// The lease of the offer that must be there now.
    pub async fn leases(&self) -> LeaseId {
        lease_id(&self.takes().await.unwrap())
    }

    pub async fn renew(&self, lease_id: &LeaseId) -> HttpAnswer {
        self.post("renew", lease_id).await
    }

    /// Renews the lease of a task that has said nothing for so many seconds.
    pub async fn renew_after(&self, lease_id: &LeaseId, silent_s: Option<u32>) -> HttpAnswer {
        self.post(
            "renew",
            &Renewal {
                lease_id: lease_id.clone(),
                silent_s,
            },
        )
        .await
    }

    /// Whether it learns when it renews that it is to hand the task back.
    pub async fn is_told_to_hand_back(&self, lease_id: &LeaseId) -> bool {
        let renewed: Renewed = serde_json::from_slice(&self.renew(lease_id).await.body).unwrap();
        renewed.hand_back
    }

    pub async fn report(&self, lease_id: &LeaseId, outcome: Outcome) -> HttpAnswer {
        self.post(
            "report",
            &Report {
                lease_id: lease_id.clone(),
                outcome,
                roots: None,
            },
        )
        .await
    }

    pub async fn log(&self, lease_id: &LeaseId, offset: u64, bytes: &[u8]) -> HttpAnswer {
        self.send(
            Method::POST,
            &format!("log?{}&offset={offset}", words(lease_id)),
            &[],
            bytes.to_vec(),
        )
        .await
    }

    pub async fn upload(&self, lease_id: &LeaseId, digest: &Digest, bytes: &[u8]) -> HttpAnswer {
        self.send(
            Method::PUT,
            &format!("blobs/{digest}?{}", words(lease_id)),
            &[],
            bytes.to_vec(),
        )
        .await
    }

    pub async fn download(&self, digest: &Digest, headers: &[(&str, &str)]) -> HttpAnswer {
        self.send(Method::GET, &format!("blobs/{digest}"), headers, Vec::new())
            .await
    }
}

fn words(
    LeaseId {
        build,
        task,
        number: lease,
    }: &LeaseId,
) -> String {
    format!("build={build}&task={task}&lease={lease}")
}

pub fn lease_id(offer: &Offer) -> LeaseId {
    LeaseId {
        build: offer.work.build.clone(),
        task: offer.work.task.clone(),
        number: offer.lease.number,
    }
}

pub fn under(lease_id: &LeaseId, number: u32) -> LeaseId {
    LeaseId {
        number: LeaseNumber(number),
        ..lease_id.clone()
    }
}

pub fn source() -> TaskId {
    "source".parse().unwrap()
}

/// An answer that hands over a file of these bytes.
pub fn passed(name: &str, bytes: &[u8]) -> Outcome {
    let artifact = Artifact {
        name: name.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        rpm: None,
    };
    Outcome::Passed {
        summary: "done".to_owned(),
        artifacts: vec![artifact],
    }
}
