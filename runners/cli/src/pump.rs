//! Carries effects from the outbox to the function that acts on them, until they are settled.

use millrace_core::Timestamp;
use millrace_core::order::Effect;
use millrace_listener::{Clock, Fetcher};
use millrace_releaser::Seal;
use millrace_signer::Keys;
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{BlobStore, Message, StateStore};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

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

/// How long to leave dead letters alone that could not be given up.
const DEAD_LETTERS_PAUSE: Duration = Duration::from_secs(60);

/// Everything that acts on effects.
pub struct Functions<S, K, L> {
    /// Where effects come from and results go: state and blobs.
    pub store: S,
    /// For the listener.
    pub fetcher: Fetcher,
    /// For the signer.
    pub keys: K,
    /// For the releaser.
    pub seal: L,
    /// Rung when a task may be taken.
    pub ready: Arc<Notify>,
    /// Rung when there may be a message.
    pub posted: Arc<Notify>,
    /// The line's clock.
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
            tokio::spawn(deliver(
                Arc::clone(&functions),
                message,
                Arc::clone(&acting),
                is_out,
            ));
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
                eprintln!("millrace: {error}");
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

async fn deliver<S, K, L>(
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
        // Whoever pauses holds up nobody: a forge that is down keeps no signer waiting.
        let Ok(place) = acting.acquire().await else {
            return;
        };
        let acted = carry_out(&functions, &message).await;
        drop(place);
        let problem = match acted {
            Ok(()) => break Ok(()),
            Err(problem) => problem,
        };
        match pauses.next().filter(|_| taken.elapsed() < AGAIN) {
            Some(pause_ms) => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
            None if message.is_last() => break give_up(&functions, &message, &problem).await,
            None => break Err(problem),
        }
    };
    if let Err(problem) = done {
        eprintln!(
            "millrace: {problem}; it is tried again ({} of {DELIVERIES_MAX})",
            message.deliveries
        );
    }
    // Acting on one effect is what most others come from.
    functions.posted.notify_one();
}

/// Lets an effect happen, and settles its message. An error is passing trouble; the message comes again.
pub async fn carry_out<S, K, L>(
    functions: &Functions<S, K, L>,
    message: &Message,
) -> Result<(), String>
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    act(functions, &message.effect).await?;
    functions
        .store
        .settle(message.id)
        .await
        .map_err(|error| error.to_string())
}

async fn act<S, K, L>(functions: &Functions<S, K, L>, effect: &Effect) -> Result<(), String>
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    let (store, now) = (&functions.store, functions.now());
    match effect {
        Effect::Fetch(announced) => {
            millrace_listener::fetch(announced, &functions.fetcher, store, store)
                .await
                .map_err(|error| error.to_string())
        }
        Effect::Plan(push) => millrace_orchestrator::plan(push, store, now)
            .await
            .map_err(|error| error.to_string()),
        Effect::Ready { .. } => {
            functions.ready.notify_waiters();
            Ok(())
        }
        Effect::Sign(order) => millrace_signer::sign(order, &functions.keys, store, store, now)
            .await
            .map(drop)
            .map_err(|error| error.to_string()),
        Effect::Release(order) => {
            millrace_releaser::release(order, &functions.seal, store, store, now)
                .await
                .map_err(|error| error.to_string())
        }
        Effect::Ended { .. } => Ok(()),
        Effect::Unreadable(problem) => Err(unreadable(problem)),
    }
}

/// Gives up on dead letters: each was delivered as often as a message may be, and whoever acted on it died
/// every time before it could be settled. False where that must be tried again.
pub async fn give_up_dead_letters<S, K, L>(functions: &Functions<S, K, L>) -> bool
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    let dead = functions
        .store
        .dead_letters(AT_ONCE_MAX)
        .await
        .map_err(|error| error.to_string());
    let mut problems: Vec<String> = dead.as_ref().err().cloned().into_iter().collect();
    for message in dead.unwrap_or_default() {
        problems.extend(
            give_up(
                functions,
                &message,
                "whoever acted on it never came to its end",
            )
            .await
            .err(),
        );
    }
    for problem in &problems {
        eprintln!("millrace: {problem}; it is looked at again in a minute");
    }
    problems.is_empty()
}

/// Passing trouble that did not pass: whoever waits for the effect is told, and its message is settled. A release is taken back first;
/// where it is out by now, whoever waits is told that instead.
pub async fn give_up<S, K, L>(
    functions: &Functions<S, K, L>,
    message: &Message,
    problem: &str,
) -> Result<(), String>
where
    S: StateStore + BlobStore,
    K: Keys,
    L: Seal,
{
    let (store, now, reason) = (
        &functions.store,
        functions.now(),
        Message::given_up(problem),
    );
    match &message.effect {
        Effect::Fetch(announced) => {
            millrace_listener::give_up(announced, &reason, store)
                .await
                .map_err(|error| error.to_string())?;
        }
        Effect::Plan(push) => {
            millrace_orchestrator::give_up(push, &reason, store, now)
                .await
                .map_err(|error| error.to_string())?;
        }
        Effect::Sign(order) => {
            millrace_signer::give_up(order, &reason, store, now)
                .await
                .map_err(|error| error.to_string())?;
        }
        Effect::Release(order) => {
            millrace_releaser::give_up(order, &reason, store, store, now)
                .await
                .map_err(|error| error.to_string())?;
        }
        Effect::Ready { .. } | Effect::Ended { .. } => {}
        // Nobody can tell who waits for it.
        Effect::Unreadable(problem) => return Err(unreadable(problem)),
    }
    store
        .settle(message.id)
        .await
        .map_err(|error| error.to_string())
}

/// What is said of a message that cannot be read.
fn unreadable(problem: &str) -> String {
    format!(
        "a message cannot be read ({problem}) and is kept; if it is a newer millrace's, start that and `millrace messages retry`"
    )
}
