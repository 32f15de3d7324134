//! Carries effects from the outbox to the function that acts on them, until they are settled.

use crate::state::now;
use millrace_core::Timestamp;
use millrace_core::build::Event;
use millrace_core::order::{Effect, ReleaseOrder};
use millrace_listener::Fetcher;
use millrace_releaser::Seal;
use millrace_signer::Keys;
use millrace_store::local::LocalStore;
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{AdvanceError, Letter, StateStore, advance};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Letters acted on at the same time: fetching waits for networks, signing for a core.
const AT_ONCE_MAX: usize = 16;

/// How long a letter stays out before somebody else may have it, in milliseconds: longer than signing and releasing the
/// largest build takes. After a crash nobody waits for this; see [`run`].
const OUT_MS: u64 = 600_000;

/// How long after a letter was taken it is still acted on again: the longest act, fetching, ends before the letter may be
/// somebody else's.
const AGAIN: Duration = Duration::from_millis(OUT_MS - Fetcher::FETCH_MAX.as_millis() as u64);

/// Pauses before acting on a letter again, in milliseconds. When they or [`AGAIN`] are used up it goes back for [`OUT_MS`].
const PAUSES_MS: [u64; 5] = [500, 1_000, 4_000, 10_000, 30_000];

/// How long to wait before looking without having been rung for: what another process writes rings no bell here.
const LOOK: Duration = Duration::from_millis(250);

/// Everything that acts on effects.
pub struct Functions<K, L> {
    /// Where effects come from and results go.
    pub store: LocalStore,
    /// For the listener.
    pub fetcher: Fetcher,
    /// For the signer.
    pub keys: K,
    /// For the releaser.
    pub seal: L,
    /// Rung when a task may be taken.
    pub ready: Arc<Notify>,
    /// Rung when there may be a letter.
    pub posted: Arc<Notify>,
}

/// Delivers effects for ever. Nobody else may take letters from the store: so at the start those that an earlier process had
/// out are taken at once, for that process is gone.
pub async fn run<K: Keys + Send + Sync + 'static, L: Seal + Send + Sync + 'static>(functions: Arc<Functions<K, L>>) {
    let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
    let mut first = true;
    loop {
        let seen_from = if first { now().plus_ms(OUT_MS) } else { now() };
        let letters = functions.store.take(AT_ONCE_MAX, seen_from, seen_from.plus_ms(OUT_MS)).await.unwrap_or_else(|error| {
            eprintln!("millrace: {error}");
            Vec::new()
        });
        first = first && letters.len() == AT_ONCE_MAX;
        if letters.is_empty() {
            let _ = tokio::time::timeout(LOOK, functions.posted.notified()).await;
        }
        for letter in letters {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            tokio::spawn(deliver(Arc::clone(&functions), letter, place));
        }
    }
}

async fn deliver<K: Keys, L: Seal>(functions: Arc<Functions<K, L>>, letter: Letter, _place: OwnedSemaphorePermit) {
    let taken = Instant::now();
    let mut pauses = PAUSES_MS.into_iter();
    let done = loop {
        let problem = match act(&functions, &letter.effect).await {
            Ok(()) => break Ok(()),
            Err(problem) => problem,
        };
        match pauses.next().filter(|_| taken.elapsed() < AGAIN) {
            Some(pause_ms) => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
            None if letter.deliveries >= DELIVERIES_MAX => break give_up(&functions, &letter.effect, &problem).await,
            None => break Err(problem),
        }
    };
    let settled = match done {
        Ok(()) => functions.store.settle(letter.id).await.map_err(|error| error.to_string()),
        Err(problem) => Err(format!("{problem}; it is tried again ({} of {DELIVERIES_MAX})", letter.deliveries)),
    };
    if let Err(problem) = settled {
        eprintln!("millrace: {problem}");
    }
    // Acting on one effect is what most others come from.
    functions.posted.notify_one();
}

/// Lets an effect happen. An error is passing trouble.
async fn act<K: Keys, L: Seal>(functions: &Functions<K, L>, effect: &Effect) -> Result<(), String> {
    let store = &functions.store;
    match effect {
        Effect::Fetch(announced) => {
            millrace_listener::fetch(announced, &functions.fetcher, store, store).await.map_err(|error| error.to_string())
        }
        Effect::Plan(push) => millrace_orchestrator::plan(push, store, now()).await.map_err(|error| error.to_string()),
        Effect::Ready { .. } => {
            functions.ready.notify_waiters();
            Ok(())
        }
        Effect::Sign(order) => {
            millrace_signer::sign(order, &functions.keys, store, store, now()).await.map(drop).map_err(|error| error.to_string())
        }
        Effect::Release(order) => {
            millrace_releaser::release(order, &functions.seal, store, store, now()).await.map_err(|error| error.to_string())
        }
        Effect::Ended { .. } => Ok(()),
    }
}

/// Passing trouble that did not pass: whoever waits for the effect is told.
async fn give_up<K, L>(functions: &Functions<K, L>, effect: &Effect, problem: &str) -> Result<(), String> {
    let store = &functions.store;
    let at: Timestamp = now();
    let reason = format!("{problem} (given up after {DELIVERIES_MAX} deliveries)");
    let told = match effect {
        Effect::Fetch(announced) => {
            return millrace_listener::give_up(announced, &reason, store).await.map_err(|error| error.to_string());
        }
        Effect::Plan(push) => {
            return millrace_listener::give_up_planning(&push.announced, &reason, store).await.map_err(|error| error.to_string());
        }
        Effect::Sign(order) => advance(store, &order.build, Event::SignRefused { order: order.id, reason }, at).await,
        Effect::Release(order) if is_out(order, store).await => {
            return Err(format!("{problem}; the packages of build {} are out, and it could not be told", order.build));
        }
        Effect::Release(order) => advance(store, &order.build, Event::ReleaseRefused { order: order.id, reason }, at).await,
        Effect::Ready { .. } | Effect::Ended { .. } => return Ok(()),
    };
    match told {
        Ok(_) | Err(AdvanceError::Refused(_) | AdvanceError::Unknown(_)) => Ok(()),
        Err(AdvanceError::Save(error)) => Err(error.to_string()),
    }
}

/// Whether the packages of an order are in the repositories already.
async fn is_out(order: &ReleaseOrder, store: &LocalStore) -> bool {
    let now = millrace_releaser::current(&order.platform, store).await;
    now.is_ok_and(|now| now.is_some_and(|(generation, _)| generation.orders.contains_key(&order.id)))
}
