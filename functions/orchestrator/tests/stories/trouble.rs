//! Builds and stores that are not as they should be.

use crate::world::{Runner, World, desk, lease_id};
use millrace_core::build::{Build, Event};
use millrace_core::task::{LEASE_MS, RunnerProfile};
use millrace_core::{Arch, Timestamp};
use millrace_orchestrator::tick;
use millrace_store::memory::MemoryStore;
use millrace_store::state::RECORD_BYTES_MAX;
use millrace_store::{
    Commit, IndexHit, Key, Message, MessageId, Record, SaveError, StateError, StateStore, Table,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A build that fits into a record as it is, and not with a lease.
fn full(world: &World, package: &str) -> Build {
    let mut build = world.planned(package);
    let bytes = serde_json::to_string(&build).unwrap().len();
    build
        .push
        .subject
        .push_str(&"x".repeat(RECORD_BYTES_MAX - bytes - 10));
    build
}

/// The build, with its source leased to somebody.
fn leased(world: &World, mut build: Build, runner: &str) -> Build {
    let machine = RunnerProfile::of(Arch::X86_64);
    build
        .step(
            Event::Take {
                task: "source".parse().unwrap(),
                runner: runner.parse().unwrap(),
                machine,
            },
            world.now(),
        )
        .unwrap();
    build
}

#[tokio::test]
async fn builds_that_cannot_be_read_stand_in_nobodys_way() {
    let world = World::new();
    // More than are looked at for one runner at once.
    for n in 0..40 {
        let build = world.planned(&format!("bad-{n}"));
        world.spoil(&build).await;
    }
    let good = world.build("zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    assert_eq!(runner.leases().await.build, good.id);
}

#[tokio::test]
async fn a_build_that_cannot_be_saved_stands_in_nobodys_way() {
    let world = World::new();
    let large = full(&world, "large");
    world.keep(&large).await;
    let good = world.build("zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    assert_eq!(runner.leases().await.build, good.id);
}

#[tokio::test]
async fn leases_behind_builds_that_cannot_be_read_end_in_time() {
    let world = World::new();
    // More than one tick looks at at once.
    for n in 0..201 {
        let bad = leased(&world, world.planned(&format!("bad-{n}")), "gone");
        world.spoil(&bad).await;
    }
    let good = leased(&world, world.planned("zlib"), "gone");
    world.keep(&good).await;
    world.pass_ms(LEASE_MS);
    assert_eq!(tick(&world.store, world.now()).await.unwrap(), 1);
    assert_eq!(world.now_is(&good).await.next_expiry(), None);
}

#[tokio::test]
async fn a_runner_that_had_what_cannot_be_read_gets_other_work() {
    let world = World::new();
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let bad = leased(&world, world.planned("bad"), "intel-1");
    world.spoil(&bad).await;
    let behind = leased(&world, world.planned("zlib"), "intel-1");
    world.keep(&behind).await;
    assert_eq!(
        runner.leases().await.build,
        behind.id,
        "what it had besides was given back, and is ready again"
    );
}

/// A store that can be away.
#[derive(Clone)]
struct Shaky {
    store: MemoryStore,
    away: Arc<AtomicBool>,
}

impl Shaky {
    fn here(&self) -> Result<&MemoryStore, StateError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(StateError::unavailable("it is locked")),
            false => Ok(&self.store),
        }
    }
}

impl StateStore for Shaky {
    async fn load(&self, key: &Key) -> Result<Option<Record>, StateError> {
        // Who asks is still known; builds cannot be read.
        if key.table == Table::Build {
            self.here()?.load(key).await
        } else {
            self.store.load(key).await
        }
    }
    async fn save(&self, commit: Commit) -> Result<(), SaveError> {
        self.here()?.save(commit).await
    }
    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StateError> {
        self.here()?.list(table, after, limit).await
    }
    async fn index_entries(
        &self,
        index: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IndexHit>, StateError> {
        self.store.index_entries(index, after, limit).await
    }
    async fn take(
        &self,
        limit: usize,
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> Result<Vec<Message>, StateError> {
        self.here()?.take(limit, now, hidden_until).await
    }
    async fn settle(&self, message: MessageId) -> Result<(), StateError> {
        self.here()?.settle(message).await
    }
    async fn dead_letters(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.here()?.dead_letters(limit).await
    }
    async fn unsettled(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.here()?.unsettled(limit).await
    }
    async fn put_back(&self, message: MessageId, now: Timestamp) -> Result<bool, StateError> {
        self.here()?.put_back(message, now).await
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_nobodys_own_trouble_and_passes() {
    let world = World::new();
    let good = world.build("zlib").await;
    let runner = world.runner("intel-1", Arch::X86_64).await;
    let shaky = Shaky {
        store: world.store.clone(),
        away: Arc::new(AtomicBool::new(true)),
    };
    let clock = Arc::new(world.now().0.into());
    let runner = Runner {
        router: desk(
            shaky.clone(),
            world.store.clone(),
            clock,
            world.ready.clone(),
            None,
            &world.incoming,
        ),
        ..runner
    };
    let away = (
        503,
        "unavailable: the state store does not answer: it is locked".to_owned(),
    );
    assert_eq!(runner.ask(0).await.told(), away);
    shaky.away.store(false, Ordering::Relaxed);
    let offer = runner.takes().await.unwrap();
    assert_eq!(offer.work.build, good.id);
    shaky.away.store(true, Ordering::Relaxed);
    assert_eq!(runner.renew(&lease_id(&offer)).await.told(), away);
    assert!(tick(&shaky, world.now().plus_ms(LEASE_MS)).await.is_err());
    shaky.away.store(false, Ordering::Relaxed);
    assert_eq!(
        tick(&shaky, world.now().plus_ms(LEASE_MS)).await.unwrap(),
        1
    );
}
