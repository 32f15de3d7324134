//! Carries effects from the outbox to the function that acts on them, until they are settled.

use millrace_core::Timestamp;
use millrace_core::order::Effect;
use millrace_listener::Clock;
use millrace_orchestrator::Planner;
use millrace_releaser::{OrderReleaser, Seal};
use millrace_signer::{Keys, OrderSigner};
use millrace_source::{Fetcher, PushFetcher};
use millrace_store::deliver::{self, act};
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{BlobStore, Deliver, DeliverError, Message, Recipient, StateStore, chain};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::{Instrument, error, warn};

/// Messages acted on at the same time: fetching waits for networks, signing for a core.
const AT_ONCE_MAX: usize = 16;

/// Messages out at the same time, those among them that pause before another try: a forge that is down for an hour collects
/// some hundred pushes, and each is a task that sleeps.
const OUT_MAX: usize = 1_000;

/// How long a message stays out before somebody else may have it, in milliseconds: longer than signing and releasing the
/// largest build takes. After a crash nobody waits for this; see [`run`].
pub const OUT_MS: u64 = 600_000;

/// How long after a message was taken it is still acted on again: the longest act, fetching, ends before the message may be
/// somebody else's.
const AGAIN: Duration = Duration::from_millis(OUT_MS - Fetcher::FETCH_MAX.as_millis() as u64);

/// Pauses before acting on a message again, in milliseconds. When they or [`AGAIN`] are used up it goes back for [`OUT_MS`].
const PAUSES_MS: [u64; 5] = [500, 1_000, 4_000, 10_000, 30_000];

/// How long to wait before looking without having been rung for: what another process writes rings no bell here.
const LOOK: Duration = Duration::from_millis(250);

/// Why dead letters are given up.
const NEVER_ENDED: &str = "it was acted on as often as a message may be, and never to its end";

/// How long to leave dead letters alone that could not be given up.
const DEAD_LETTERS_PAUSE: Duration = Duration::from_secs(60);

/// Everything that acts on effects.
pub struct Functions<S, K, L> {
    /// Where effects come from and results go: state and blobs.
    pub store: S,
    pub fetcher: Fetcher,
    pub keys: K,
    pub seal: L,
    /// Rung when a task may be taken.
    pub ready: Arc<Notify>,
    /// Rung when there may be a message.
    pub posted: Arc<Notify>,
    pub clock: Clock,
}

/// Delivers effects for ever. Nobody else may take messages from the store: so at the start those that an earlier process had
/// out are taken at once, for that process is gone.
pub async fn run<S, K, L>(functions: Arc<Functions<S, K, L>>)
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal + 'static,
{
    let (out, acting) = (
        Arc::new(Semaphore::new(OUT_MAX)),
        Arc::new(Semaphore::new(AT_ONCE_MAX)),
    );
    let (mut taking, mut dead_letters_from) = (Taking::started(functions.now()), Instant::now());
    loop {
        let messages = taking.take(&functions).await;
        if Instant::now() >= dead_letters_from && !give_up_dead_letters(&functions).await {
            dead_letters_from = Instant::now() + DEAD_LETTERS_PAUSE;
        }
        if messages.is_empty() {
            let _ = tokio::time::timeout(LOOK, functions.posted.notified()).await;
        }
        for message in messages {
            let Ok(is_out) = Arc::clone(&out).acquire_owned().await else {
                return;
            };
            let span = deliver::span(&message);
            let carried = carry(Arc::clone(&functions), message, Arc::clone(&acting), is_out);
            tokio::spawn(carried.instrument(span));
        }
    }
}

/// From which moment on messages are taken.
struct Taking {
    /// When this process began, as long as an earlier one's messages may be left.
    began: Option<Timestamp>,
}

impl Taking {
    const fn started(now: Timestamp) -> Self {
        Self { began: Some(now) }
    }

    async fn take<S: StateStore, K, L>(&mut self, functions: &Functions<S, K, L>) -> Vec<Message> {
        // What an earlier process took is hidden until some moment before the end of this span, and what is taken now until that
        // end: so none is taken twice here, and the next process finds all of them, however soon it comes.
        let (seen_from, hidden_until) = match self.began {
            Some(began) => (began.plus_ms(OUT_MS - 1), began.plus_ms(OUT_MS)),
            None => (functions.now(), functions.now().plus_ms(OUT_MS)),
        };
        match functions
            .store
            .take(AT_ONCE_MAX, seen_from, hidden_until)
            .await
        {
            Ok(messages) => {
                self.began = self.began.filter(|_| messages.len() == AT_ONCE_MAX);
                messages
            }
            Err(error) => {
                error!(problem = chain(&error), "messages cannot be taken");
                Vec::new()
            }
        }
    }
}

impl<S, K, L> Functions<S, K, L> {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

async fn carry<S, K, L>(
    functions: Arc<Functions<S, K, L>>,
    message: Message,
    acting: Arc<Semaphore>,
    _out: OwnedSemaphorePermit,
) where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    let taken = Instant::now();
    let mut pauses = PAUSES_MS.into_iter();
    let done = loop {
        // A message that pauses holds up nobody: a forge that is down keeps no signer waiting.
        let Ok(place) = acting.acquire().await else {
            return;
        };
        let acted = carry_out(&functions, &message).await;
        drop(place);
        let error = match acted {
            Ok(()) => break Ok(()),
            Err(error) => error,
        };
        match pauses.next().filter(|_| taken.elapsed() < AGAIN) {
            Some(pause_ms) => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
            None if message.is_last() => break give_up(&functions, &message, &chain(&error)).await,
            None => break Err(error),
        }
    };
    if let Err(error) = done {
        warn!(
            problem = chain(&error),
            "the message is delivered again, {DELIVERIES_MAX} times at most"
        );
    }
    // Acting on one effect is what most others come from.
    functions.posted.notify_one();
}

impl<S, K, L> Functions<S, K, L> {
    fn fetcher(&self) -> PushFetcher<'_, S, S> {
        PushFetcher {
            fetcher: &self.fetcher,
            state: &self.store,
            blobs: &self.store,
            now: self.now(),
        }
    }

    fn planner(&self) -> Planner<'_, S, Notify> {
        Planner {
            state: &self.store,
            runners: &self.ready,
            now: self.now(),
        }
    }

    fn signer(&self) -> OrderSigner<'_, K, S, S> {
        OrderSigner {
            keys: &self.keys,
            state: &self.store,
            blobs: &self.store,
            now: self.now(),
        }
    }

    fn releaser(&self) -> OrderReleaser<'_, L, S, S> {
        OrderReleaser {
            seal: &self.seal,
            state: &self.store,
            blobs: &self.store,
            now: self.now(),
        }
    }
}

impl<S, K, L> Deliver for Functions<S, K, L>
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    async fn act(&self, effect: &Effect) -> Result<(), DeliverError> {
        match Recipient::of(effect)? {
            Recipient::Fetcher => self.fetcher().act(effect).await,
            Recipient::Planner => self.planner().act(effect).await,
            Recipient::Signer => self.signer().act(effect).await,
            Recipient::Releaser => self.releaser().act(effect).await,
        }
    }

    async fn give_up(&self, effect: &Effect, reason: &str) -> Result<(), DeliverError> {
        match Recipient::of(effect)? {
            Recipient::Fetcher => self.fetcher().give_up(effect, reason).await,
            Recipient::Planner => self.planner().give_up(effect, reason).await,
            Recipient::Signer => self.signer().give_up(effect, reason).await,
            Recipient::Releaser => self.releaser().give_up(effect, reason).await,
        }
    }
}

/// Lets an effect happen, and settles its message. An error is passing trouble; the message comes again.
pub async fn carry_out<S, K, L>(
    functions: &Functions<S, K, L>,
    message: &Message,
) -> Result<(), DeliverError>
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    act(message, &functions.store, functions).await
}

/// Passing trouble that did not pass: those who wait for the effect are told, and its message is settled. A release is taken back first; if
/// it is out by now, they are told that instead.
pub async fn give_up<S, K, L>(
    functions: &Functions<S, K, L>,
    message: &Message,
    problem: &str,
) -> Result<(), DeliverError>
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    deliver::give_up(message, problem, &functions.store, functions).await
}

/// Gives up on dead letters: each was delivered as often as a message may be, and the part that acted on it died every time before it could
/// be settled. False if that must be tried again.
pub async fn give_up_dead_letters<S, K, L>(functions: &Functions<S, K, L>) -> bool
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    let dead = match functions.store.dead_letters(AT_ONCE_MAX).await {
        Ok(dead) => dead,
        Err(error) => {
            later(&error.into());
            return false;
        }
    };
    let mut all_given_up = true;
    for message in dead {
        let span = deliver::span(&message);
        if let Err(error) = give_up(functions, &message, NEVER_ENDED)
            .instrument(span)
            .await
        {
            later(&error);
            all_given_up = false;
        }
    }
    all_given_up
}

fn later(error: &DeliverError) {
    error!(
        problem = chain(error),
        "dead letters are looked at again in a minute"
    );
}
