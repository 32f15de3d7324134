//! The town: stores, functions, runners, a clock, and a die that decides what happens next.

use crate::runner::{Runner, outcome, results};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use millrace_core::build::{Build, Event};
use millrace_core::order::{Effect, SignOrder, SignedFile};
use millrace_core::platform::{RELEASED_REPOSITORY, Repository};
use millrace_core::protocol::{Ask, Offer, Report};
use millrace_core::push::{PushRecord, PushState};
use millrace_core::{Arch, Digest, KeyName, LeaseNumber, PlatformName, Timestamp};
use millrace_orchestrator::{Desk, Registered, Token, add_runner};
use millrace_releaser::{Seal, SealError};
use millrace_store::builds::push_marks;
use millrace_store::memory::MemoryStore;
use millrace_store::records::{all, replace, write};
use millrace_store::{AdvanceError, BlobStore, Commit, Expect, Letter, StateStore, Table, advance};
use millrace_tests::line::{platform, push};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use tower::ServiceExt;

/// How long a letter stays out before it is delivered again, in milliseconds of the town's clock.
const OUT_MS: u64 = 30_000;

/// Polls after which a function has certainly come to its end.
const POLLS_MAX: usize = 100_000;

/// Steps without trouble that any trouble must be over after: each lets five seconds pass, a lease lasts a minute, and a task has three.
const CALM_STEPS_MAX: usize = 1_000;

const PACKAGES: [&str; 3] = ["zlib", "pigz", "popt"];

/// Metadata signatures that anyone can make.
pub struct MadeUpSeal;

impl Seal for MadeUpSeal {
    async fn seal(&self, key: &KeyName, repomd: &[u8], signed_s: u64) -> Result<Vec<u8>, SealError> {
        Ok(format!("{key} {signed_s} {}", Digest::of(repomd)).into_bytes())
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        Ok(key.to_string().into_bytes())
    }
}

/// Everything.
pub struct Town {
    /// State and blobs; every operation can be the last one of whoever calls it.
    pub store: MemoryStore,
    chance: fastrand::Rng,
    clock: Arc<AtomicU64>,
    desk: Router,
    runners: Vec<Runner>,
    late: Vec<Letter>,
    pushes: u64,
    /// What happened, in order, in a few words each.
    pub history: Vec<String>,
    /// Leases under which the desk took a verdict, by build and task.
    pub verdicts: BTreeMap<String, BTreeSet<LeaseNumber>>,
    /// Builds as they ended.
    pub ended: BTreeMap<String, Build>,
    troubled: bool,
}

impl Town {
    /// A town where nothing has happened yet.
    pub fn new(seed: u64) -> Self {
        let store = MemoryStore::with_yields();
        let clock = Arc::new(AtomicU64::new(1_000_000));
        let read = Arc::clone(&clock);
        let released = |_: &PlatformName| Repository {
            id: RELEASED_REPOSITORY.to_owned(),
            baseurl: Some("http://town/".to_owned()),
            mirrorlist: None,
            gpgkey: None,
            priority: 10,
        };
        let desk = millrace_orchestrator::router(Desk {
            state: store.clone(),
            blobs: store.clone(),
            clock: Arc::new(move || Timestamp(read.load(Ordering::Relaxed))),
            ready: Arc::default(),
            released: Arc::new(released),
            incoming: "/nonexistent".into(),
        });
        let town = Self {
            store,
            chance: fastrand::Rng::with_seed(seed),
            clock,
            desk,
            runners: Vec::new(),
            late: Vec::new(),
            pushes: 0,
            history: Vec::new(),
            verdicts: BTreeMap::new(),
            ended: BTreeMap::new(),
            troubled: true,
        };
        town.furnished()
    }

    fn furnished(mut self) -> Self {
        let platform = platform(r#""x86_64", "aarch64""#);
        done(replace(&self.store, Table::Platform, platform.name.as_str(), &platform)).unwrap();
        done(millrace_releaser::prepare(&platform, &MadeUpSeal, &self.store, self.now())).unwrap();
        for name in ["source", "rpm", "check"] {
            let plugin = Registered { name: name.parse().unwrap(), digest: Digest::of(name.as_bytes()), size: 1 };
            done(replace(&self.store, Table::Plugin, name, &plugin)).unwrap();
        }
        for (number, arch) in [Arch::X86_64, Arch::X86_64, Arch::Aarch64].into_iter().enumerate() {
            let token = Token::from_random([number as u8; 32]);
            let name = format!("runner-{number}-{arch}");
            done(add_runner(&self.store, &name.parse().unwrap(), arch, &token, self.now())).unwrap();
            self.runners.push(Runner { name, token: token.reveal().to_owned(), work: None, answer: None });
        }
        self
    }

    /// The town's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::Relaxed))
    }

    fn pass_ms(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// Something happens.
    pub fn step(&mut self) {
        let most = self.chance.u64(0..3_000);
        self.pass_ms(most);
        match self.chance.u8(0..20) {
            0 if self.pushes < 6 => self.push(),
            0..9 => self.deliver(),
            9 => self.deliver_late(),
            10..17 => self.run_a_runner(),
            17 => self.lose_a_runner(),
            18 => self.tick(),
            _ => self.pass_ms(self.chance.clone().u64(0..20_000)),
        }
    }

    /// No more trouble: everything is delivered, everybody works, until nothing is left to do.
    pub fn calm(&mut self) {
        self.troubled = false;
        for _ in 0..CALM_STEPS_MAX {
            self.pass_ms(5_000);
            self.deliver();
            self.tick();
            (0..self.runners.len()).for_each(|number| self.work(number));
            self.check();
            if self.nothing_is_left() {
                return;
            }
        }
    }

    /// Whether nobody has anything to do: no letter is on its way, hidden ones among them, and every build has ended.
    fn nothing_is_left(&self) -> bool {
        let ended = |build: &Build| build.is_ended();
        self.store.letters() == 0 && done(all::<Build>(&self.store, Table::Build)).unwrap().iter().all(ended)
    }

    /// Runs a function to its end, or kills it after some of its reads and writes; none where it was killed.
    fn live<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let dies = self.troubled && self.chance.u8(0..6) == 0;
        let polls = if dies { self.chance.usize(0..25) } else { POLLS_MAX };
        let result = polled(what, polls);
        assert!(dies || result.is_some(), "a function did not come to its end");
        if result.is_none() {
            self.history.push("  killed".to_owned());
        }
        result
    }

    fn push(&mut self) {
        self.pushes += 1;
        let package = PACKAGES[self.chance.usize(0..PACKAGES.len())];
        let mut push = push(package, self.pushes);
        push.announced.received = self.now();
        self.history.push(format!("push {package} {}", push.announced.id));
        let record = PushRecord { announced: push.announced.clone(), state: PushState::Fetching };
        let id = record.announced.id.to_string();
        let commit = Commit {
            writes: vec![write(Table::Push, &id, Expect::Absent, &record, push_marks(&record)).unwrap()],
            effects: vec![Effect::Plan(Box::new(push))],
        };
        done(self.store.save(commit)).unwrap();
    }

    fn deliver(&mut self) {
        let (now, most) = (self.now(), self.chance.usize(1..5));
        let mut letters = done(self.store.take(most, now, now.plus_ms(OUT_MS))).unwrap();
        self.chance.shuffle(&mut letters);
        for letter in letters {
            if self.troubled && self.chance.u8(0..4) == 0 {
                self.late.push(letter.clone());
            }
            self.act(letter);
        }
    }

    /// An effect that was acted on long ago comes once more.
    fn deliver_late(&mut self) {
        if !self.late.is_empty() {
            let letter = self.late.remove(self.chance.usize(0..self.late.len()));
            self.act(letter);
        }
    }

    fn act(&mut self, letter: Letter) {
        let (store, now) = (self.store.clone(), self.now());
        self.history.push(format!("deliver {}", crate::laws::told(&letter.effect)));
        let acted = match letter.effect {
            Effect::Plan(push) => {
                self.live(async move { millrace_orchestrator::plan(&push, &store, now).await.map_err(|error| error.to_string()) })
            }
            Effect::Sign(order) => self.live(sign(store, order, now)),
            Effect::Release(order) => self.live(async move {
                millrace_releaser::release(&order, &MadeUpSeal, &store, &store, now).await.map_err(|error| error.to_string())
            }),
            Effect::Ready { .. } | Effect::Ended { .. } => Some(Ok(())),
            Effect::Fetch(announced) => panic!("nobody announced {announced:?}"),
        };
        match acted {
            Some(Ok(())) => done(self.store.settle(letter.id)).unwrap(),
            Some(Err(problem)) => panic!("acting on an effect failed: {problem}"),
            None => {}
        }
    }

    fn tick(&mut self) {
        let (store, now) = (self.store.clone(), self.now());
        if let Some(ticked) = self.live(async move { millrace_orchestrator::tick(&store, now).await }) {
            ticked.unwrap();
        }
    }

    fn run_a_runner(&mut self) {
        let number = self.chance.usize(0..self.runners.len());
        self.work(number);
    }

    /// A runner's machine is gone; when it comes back it knows nothing. Or it only slept, and knows too much.
    fn lose_a_runner(&mut self) {
        let number = self.chance.usize(0..self.runners.len());
        self.history.push(format!("lose {}", self.runners[number].name));
        match self.chance.bool() {
            true => self.runners[number].forget(),
            false => self.pass_ms(millrace_core::task::LEASE_MS),
        }
    }

    fn work(&mut self, number: usize) {
        let runner = self.runners[number].clone();
        let Some(offer) = runner.work.clone() else { return self.ask(number) };
        if self.troubled && self.chance.u8(0..3) == 0 {
            let holding = serde_json::to_string(&runner.holding()).unwrap();
            if let Some((StatusCode::CONFLICT, _)) = self.request(&runner, "/runner/v1/renew", holding) {
                self.runners[number].forget();
            }
            return;
        }
        self.answer(number, &offer);
    }

    fn ask(&mut self, number: usize) {
        let runner = self.runners[number].clone();
        let arch = runner.name.rsplit('-').next().unwrap().parse().unwrap();
        let ask = Ask { runner: runner.name.parse().unwrap(), arch, wait_s: 0 };
        let Some((status, body)) = self.request(&runner, "/runner/v1/lease", serde_json::to_string(&ask).unwrap()) else { return };
        if status == StatusCode::OK {
            let offer: Offer = serde_json::from_slice(&body).unwrap();
            self.history
                .push(format!("{} takes {} of {} under {}", runner.name, offer.work.task, offer.work.build, offer.lease.number));
            self.runners[number].work = Some(offer);
        }
    }

    fn answer(&mut self, number: usize, offer: &Offer) {
        let runner = self.runners[number].clone();
        let mut artifacts = Vec::new();
        for (artifact, bytes) in results(offer) {
            done(self.store.put(bytes)).unwrap();
            artifacts.push(artifact);
        }
        let outcome = match runner.answer.clone() {
            Some(outcome) => outcome,
            None => outcome(&mut self.chance, !self.troubled, artifacts),
        };
        self.runners[number].answer = Some(outcome.clone());
        let holding = runner.holding().unwrap();
        let (name, lease) = (format!("{}/{}", holding.build, holding.task), holding.lease);
        let verdict = !matches!(&outcome, millrace_core::task::Outcome::Failed(failure) if failure.blame == millrace_core::task::Blame::Environment);
        let report = serde_json::to_string(&Report { holding, outcome }).unwrap();
        // An answer may be told twice, for its receipt may be lost.
        let times = if self.troubled && self.chance.u8(0..4) == 0 { 2 } else { 1 };
        for _ in 0..times {
            let Some((status, _)) = self.request(&runner, "/runner/v1/report", report.clone()) else { return };
            self.history.push(format!("{} answers for {name}: {status}", runner.name));
            if status == StatusCode::OK && verdict {
                self.verdicts.entry(name.clone()).or_default().insert(lease);
            }
            assert!(matches!(status, StatusCode::OK | StatusCode::CONFLICT), "{status}");
        }
        self.runners[number].forget();
    }

    fn request(&mut self, runner: &Runner, path: &str, body: String) -> Option<(StatusCode, Vec<u8>)> {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", runner.token))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let desk = self.desk.clone();
        self.live(async move {
            let response = desk.oneshot(request).await.unwrap();
            let status = response.status();
            (status, axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
        })
    }
}

/// A signer whose signature is one more byte at the end.
async fn sign(store: MemoryStore, order: SignOrder, now: Timestamp) -> Result<(), String> {
    let mut files = Vec::new();
    for file in &order.files {
        let mut bytes = store.read_all(&file.digest, 1 << 20).await.map_err(|error| error.to_string())?;
        bytes.push(b's');
        let size = bytes.len() as u64;
        files.push(SignedFile { unsigned: file.digest, signed: store.put(bytes).await.map_err(|error| error.to_string())?, size });
    }
    match advance(&store, &order.build, Event::Signed { order: order.id, files }, now).await {
        Ok(_) | Err(AdvanceError::Refused(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs something to its end.
pub fn done<T>(what: impl Future<Output = T>) -> T {
    polled(what, POLLS_MAX).unwrap()
}

/// Polls something a number of times, and drops it then.
fn polled<T>(what: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut what = pin!(what);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).find_map(|_| match what.as_mut().poll(&mut context) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    })
}
