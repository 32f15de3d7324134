//! A line that says what it is told to, for tests of the runner: the routes of `core::protocol` over a few maps.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "every test takes what it needs"
)]

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use millrace_core::platform::{Buildroot, SandboxOptions};
use millrace_core::protocol::{self, Logged, Offer, Problem, Renewed, Report, Upload, Work};
use millrace_core::push::Commit;
use millrace_core::task::{Artifact, Lease, LeaseId};
use millrace_core::{
    Arch, BuildId, Digest, LeaseNumber, PackageName, PlatformName, RunnerName, Timestamp,
};
use millrace_host::plugin::engine::Code;
use millrace_host::worker::WorkerConfig;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const TOKEN: &str = "a-token";

/// What the line knows and has heard.
#[derive(Default)]
pub struct Line {
    pub offers: VecDeque<Offer>,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub log: Vec<u8>,
    pub renewed: usize,
    pub reports: Vec<Report>,
    /// Reports that came after the lease was over, and how much was said under it by then.
    pub refused: Vec<Report>,
    pub said_too_late: usize,
    /// Times that a file was fetched.
    pub downloads: usize,
    /// Requests that are answered with 503 before any is served.
    pub away_for: usize,
    /// Whether the lease is over.
    pub lease_lost: bool,
}

pub type Shared = Arc<Mutex<Line>>;

/// Starts the line on a port of loopback; it ends with the test's process.
pub fn start(line: Line) -> (String, Shared) {
    let shared = Arc::new(Mutex::new(line));
    let (state, (give, take)) = (shared.clone(), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            give.send(format!("http://{}", listener.local_addr().unwrap()))
                .unwrap();
            axum::serve(listener, router(state)).await.unwrap();
        });
    });
    (take.recv().unwrap(), shared)
}

fn router(line: Shared) -> Router {
    Router::new()
        .route("/runner/v1/lease", post(lease))
        .route("/runner/v1/renew", post(renew))
        .route("/runner/v1/log", post(log))
        .route("/runner/v1/report", post(report))
        .route("/runner/v1/upload", post(place))
        .route("/runner/v1/blobs/{digest}", get(download).put(upload))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(line.clone(), guard))
        .with_state(line)
}

async fn guard(State(line): State<Shared>, request: Request, next: Next) -> Response {
    let away = {
        let mut line = line.lock().unwrap();
        line.away_for = line.away_for.saturating_sub(1);
        line.away_for > 0
    };
    if away {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "back soon");
    }
    if request
        .headers()
        .get("authorization")
        .is_none_or(|value| value != &format!("Bearer {TOKEN}"))
    {
        return problem(StatusCode::UNAUTHORIZED, "the token is not known");
    }
    next.run(request).await
}

fn problem(status: StatusCode, message: &str) -> Response {
    (
        status,
        Json(Problem {
            problem: "test".to_owned(),
            message: message.to_owned(),
        }),
    )
        .into_response()
}

async fn lease(State(line): State<Shared>) -> Response {
    for _ in 0..20 {
        if let Some(offer) = line.lock().unwrap().offers.pop_front() {
            return Json(offer).into_response();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    StatusCode::NO_CONTENT.into_response()
}

fn lost(line: &Shared) -> Option<Response> {
    let mut line = line.lock().unwrap();
    line.said_too_late += usize::from(line.lease_lost);
    line.lease_lost
        .then(|| problem(StatusCode::CONFLICT, "lease 1 is over"))
}

async fn renew(State(line): State<Shared>, Json(_): Json<LeaseId>) -> Response {
    if let Some(response) = lost(&line) {
        return response;
    }
    line.lock().unwrap().renewed += 1;
    Json(Renewed {
        until: Timestamp(60_000),
        now: Timestamp(0),
        hand_back: false,
    })
    .into_response()
}

#[derive(Deserialize)]
struct ChunkQuery {
    offset: usize,
}

async fn log(
    State(line): State<Shared>,
    Query(query): Query<ChunkQuery>,
    Query(_): Query<LeaseId>,
    bytes: Bytes,
) -> Response {
    if let Some(response) = lost(&line) {
        return response;
    }
    let mut line = line.lock().unwrap();
    assert_eq!(query.offset, line.log.len(), "chunks continue each other");
    line.log.extend_from_slice(&bytes);
    Json(Logged {
        end: line.log.len() as u64,
        pause_s: None,
    })
    .into_response()
}

async fn report(State(line): State<Shared>, Json(report): Json<Report>) -> Response {
    if let Some(response) = lost(&line) {
        line.lock().unwrap().refused.push(report);
        return response;
    }
    line.lock().unwrap().reports.push(report);
    StatusCode::OK.into_response()
}

async fn download(State(line): State<Shared>, Path(digest): Path<String>) -> Response {
    let mut line = line.lock().unwrap();
    line.downloads += 1;
    match line.blobs.get(&digest.parse().unwrap()) {
        Some(bytes) => bytes.clone().into_response(),
        None => problem(StatusCode::NOT_FOUND, "no such blob"),
    }
}

async fn place(State(line): State<Shared>, Json(_): Json<Upload>) -> Response {
    lost(&line).unwrap_or_else(|| Json(protocol::UploadTarget::Desk).into_response())
}

async fn upload(
    State(line): State<Shared>,
    Path(digest): Path<String>,
    Query(_): Query<LeaseId>,
    bytes: Bytes,
) -> Response {
    if let Some(response) = lost(&line) {
        return response;
    }
    let digest: Digest = digest.parse().unwrap();
    assert_eq!(Digest::of(&bytes), digest);
    line.lock().unwrap().blobs.insert(digest, bytes.to_vec());
    StatusCode::CREATED.into_response()
}

/// The bytes of a guest that was built for these tests, or of a plugin of the line.
pub fn guest(name: &str) -> Vec<u8> {
    let built = || {
        let program = std::env::current_exe().unwrap();
        program
            .ancestors()
            .nth(3)
            .unwrap()
            .join("wasm32-wasip2/guest")
    };
    let folder = std::env::var_os("MILLRACE_PLUGINS").map_or_else(built, PathBuf::from);
    let places = [
        folder.join(format!("{name}.wasm")),
        folder.join(format!("examples/{name}.wasm")),
    ];
    let found = places.iter().find(|path| path.exists());
    let found = found.unwrap_or_else(|| {
        panic!(
            "no {name}.wasm in {}: build the guests with `cargo build --profile guest --target wasm32-wasip2 -p plugin-source -p plugin-rpm \
             -p plugin-check` and `cargo build --profile guest --target wasm32-wasip2 -p millrace-sdk --example misbehave`",
            folder.display()
        )
    });
    std::fs::read(found).unwrap()
}

/// A task for the guest `misbehave`, which does what its configuration says.
pub fn work(plugin: &Digest, what: &str) -> Work {
    let input = b"an input".to_vec();
    Work {
        build: BuildId::new("b1").unwrap(),
        task: "try@x86_64".parse().unwrap(),
        package: PackageName::new("zlib").unwrap(),
        commit: Commit::new(&"a".repeat(40)).unwrap(),
        spec: "zlib.spec".to_owned(),
        arch: Some(Arch::X86_64),
        platform: PlatformName::new("el9").unwrap(),
        releasever: "9".to_owned(),
        module_platform: None,
        macros: BTreeMap::new(),
        source_date_epoch_s: 1_700_000_000,
        repositories: Vec::new(),
        buildroot: Buildroot::default(),
        sandbox: SandboxOptions::default(),
        lock: None,
        plugin: *plugin,
        plugin_name: "misbehave".to_owned(),
        inputs: vec![Artifact {
            name: "input".to_owned(),
            digest: Digest::of(&input),
            size: input.len() as u64,
            rpm: None,
        }],
        config: BTreeMap::from([("what".to_owned(), what.into())]),
        hold_s: None,
    }
}

pub fn offer(work: Work) -> Offer {
    let runner = RunnerName::new("r1").unwrap();
    let lease = Lease {
        number: LeaseNumber(1),
        runner,
        since: Timestamp(0),
        until: Timestamp(60_000),
        silent_since: None,
        emulated_on: None,
    };
    Offer {
        lease,
        now: Timestamp(0),
        work,
        renew_s: None,
    }
}

/// A line that has the guest, its input, and this one task to do.
pub fn line_with(what: &str) -> Line {
    let guest = guest("misbehave");
    let digest = Digest::of(&guest);
    let blobs = BTreeMap::from([
        (digest, guest),
        (Digest::of(b"an input"), b"an input".to_vec()),
    ]);
    Line {
        offers: VecDeque::from([offer(work(&digest, what))]),
        blobs,
        ..Line::default()
    }
}

pub fn config(url: &str, state: &FilePath) -> WorkerConfig {
    WorkerConfig {
        desk_url: url.to_owned(),
        token: TOKEN.to_owned(),
        runner: RunnerName::new("r1").unwrap(),
        arch: Arch::X86_64,
        emulates: Vec::new(),
        state: state.to_owned(),
        launcher: PathBuf::from("/nowhere/launcher"),
        features: Default::default(),
        code: Code::of_this_machine(),
        traces: None,
    }
}

/// Waits for something to become true.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "after a minute still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A runner in a thread, stopped when it is dropped.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub fn start(config: WorkerConfig) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || millrace_host::worker::run(config, seen).unwrap());
        Self {
            stop,
            thread: Some(thread),
        }
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
