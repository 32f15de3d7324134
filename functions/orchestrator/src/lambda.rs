//! The orchestrator as functions of AWS Lambda: the desk that runners ask, the function that reads the table's stream, and a sweep for what
//! time alone decides.
//!
//! A stream of DynamoDB has two readers at most (Amazon DynamoDB Developer Guide, "DynamoDB Streams and AWS Lambda triggers"). So one
//! function reads it, acts on what is the orchestrator's, and wakes the others for what is theirs.

use crate::groups::Groups;
use crate::{Desk, Paces, Planner, RunnerPool, released_repository, router, tick};
use aws_config::SdkConfig;
use millrace_core::PlatformName;
use millrace_core::order::Effect;
use millrace_lambda::{
    EnvironmentError, Error, Functions, LoggedError, blobs, by_records, config, deliver, now,
    on_call, serve, state, variable,
};
use millrace_store::dynamodb::DynamoDb;
use millrace_store::{DeliverError, Message, MessageId, Recipient, StateStore};
use std::sync::Arc;
use tracing::warn;

/// The names of the functions that messages go to.
const FETCH: &str = "MILLRACE_FETCH";
const SIGN: &str = "MILLRACE_SIGN";
const RELEASE: &str = "MILLRACE_RELEASE";

/// The address of the line's pages and repositories.
const URL: &str = "MILLRACE_URL";

/// How long a runner that finds nothing waits before it asks again, in seconds. A host that is started for a task asks when it is up;
/// one that waits all month costs less than 0.20 USD so, most of it the six reads of each question.
const ASK_AGAIN_S: u32 = 15;

/// How long a runner waits between two pieces of a log, in seconds: each is an object that S3 takes 5 USD a million for, and an index that
/// is written again. Twice as many would be a sixth of what a build costs. People who watch one see it a minute late.
const LOG_PAUSE_S: u32 = 60;

/// How often a runner says that it is still at it, in seconds, and hears that its task was cancelled: seven and what it takes to end a
/// sandbox are below ten. Most of these questions are one read; each third is written down.
const RENEW_S: u32 = 7;

/// How long after it was posted or taken a message is late, in milliseconds: no function runs longer than 900 s (AWS Lambda quotas,
/// "Function timeout"). So the function that was woken for it has ended by then.
const LATE_MS: u64 = 960_000;

/// Messages taken in one sweep; what is left over comes with the next.
const LATE_MAX: usize = 1_000;

/// Dead letters counted.
const DEAD_LETTERS_MAX: usize = 100;

/// Answers runners.
pub async fn desk() -> Result<(), Error> {
    let (config, url) = (config(), variable(URL)?);
    serve(router(Desk {
        state: state(&config)?,
        blobs: blobs(&config)?,
        clock: Arc::new(now),
        ready: Arc::default(),
        released: Arc::new(move |platform: &PlatformName| released_repository(&url, platform)),
        incoming: std::env::temp_dir(),
        paces: Some(Paces {
            ask_again_s: ASK_AGAIN_S,
            log_pause_s: LOG_PAUSE_S,
            renew_s: RENEW_S,
        }),
    }))
    .await
}

/// Reads the table's stream.
pub async fn messages() -> Result<(), Error> {
    let config = config();
    let state = state(&config)?;
    let fleet = Fleet {
        groups: Groups::open(&config)?,
        state,
    };
    let others = Others::open(&config)?;
    by_records(move |message: Message| {
        let (fleet, others) = (fleet.clone(), others.clone());
        async move {
            match others.whose(&message.effect)? {
                Some(function) => others.functions.wake(function, message.id).await?,
                None => fleet.act(message.id).await?,
            }
            Ok(())
        }
    })
    .await
}

/// Does what time alone decides: leases that are over, messages that are late, hosts that have nothing to do.
pub async fn sweep() -> Result<(), Error> {
    let config = config();
    let (state, groups) = (state(&config)?, Groups::open(&config)?);
    on_call(move |_: serde::de::IgnoredAny| {
        let (state, groups) = (state.clone(), groups.clone());
        async move { swept(&state, &groups).await }
    })
    .await
}

async fn swept(state: &DynamoDb, groups: &Groups) -> Result<(), Error> {
    tick(state, now()).await?;
    let late = state.take_late(LATE_MAX, now(), LATE_MS).await?;
    if !late.is_empty() {
        warn!(messages = late.len(), "messages are late and go out again");
    }
    let dead = state.dead_letters(DEAD_LETTERS_MAX).await?;
    if !dead.is_empty() {
        warn!(
            messages = dead.len(),
            "messages are dead letters: `millrace messages list` shows them"
        );
    }
    Ok(groups.fit(state).await?)
}

/// The hosts of this line, as many as its tasks want.
#[derive(Clone)]
struct Fleet {
    groups: Groups,
    state: DynamoDb,
}

impl RunnerPool for Fleet {
    async fn tasks_are_ready(&self) -> Result<(), DeliverError> {
        self.groups
            .fit(&self.state)
            .await
            .map_err(DeliverError::trouble)
    }
}

impl Fleet {
    /// Acts on a message that is the orchestrator's own.
    async fn act(&self, message: MessageId) -> Result<(), LoggedError> {
        let planner = Planner {
            state: &self.state,
            runners: self,
            now: now(),
        };
        deliver(message, &self.state, &planner).await
    }
}

/// The other functions.
#[derive(Clone)]
struct Others {
    functions: Functions,
    fetch: String,
    sign: String,
    release: String,
}

impl Others {
    fn open(config: &SdkConfig) -> Result<Self, EnvironmentError> {
        let functions = Functions::new(config);
        Ok(Self {
            functions,
            fetch: variable(FETCH)?,
            sign: variable(SIGN)?,
            release: variable(RELEASE)?,
        })
    }

    /// The function that acts on an effect, if it is another one.
    fn whose(&self, effect: &Effect) -> Result<Option<&str>, DeliverError> {
        Ok(match Recipient::of(effect)? {
            Recipient::Fetcher => Some(&self.fetch),
            Recipient::Signer => Some(&self.sign),
            Recipient::Releaser => Some(&self.release),
            Recipient::Planner => None,
        })
    }
}
