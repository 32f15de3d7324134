//! Messages and who acts on them: one trait for every part of the line that does, and what becomes of a message afterwards.

use crate::advance::{AdvanceError, advance};
use crate::state::{Message, StateError, StateStore};
use millrace_core::build::{Build, Event, Refused};
use millrace_core::chain;
use millrace_core::order::{Effect, OrderId};
use millrace_core::{BuildId, Timestamp};
use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use tracing::{Span, error, field, info_span, warn};

/// Acts on messages. A message may come more than once, late, and out of order: the same effect twice must have one result.
pub trait Deliver: Send + Sync {
    /// Lets an effect happen.
    fn act(&self, effect: &Effect) -> impl Future<Output = Result<(), DeliverError>> + Send;

    /// Tells those who wait for an effect that it will not happen, for this reason.
    fn give_up(
        &self,
        effect: &Effect,
        reason: &str,
    ) -> impl Future<Output = Result<(), DeliverError>> + Send;
}

/// A message that was not acted on. It stays in the outbox and comes again, until it has come as often as a message may.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// Passing trouble of the part that acts on it: the next delivery may help.
    #[error(transparent)]
    Trouble(Box<dyn Error + Send + Sync>),
    /// The store's trouble with the message itself.
    #[error(transparent)]
    State(#[from] StateError),
    /// It was brought to a part that it is not for; the line's operator must look.
    #[error("a message that wants `{wants}` was brought to somebody who does not act on it")]
    Misdirected { wants: &'static str },
    /// This program does not know what it asks for. It is kept; a newer program may know.
    #[error(
        "a message cannot be read ({0}) and is kept; if it is a newer millrace's, start that and `millrace messages retry`"
    )]
    Unreadable(String),
}

impl DeliverError {
    /// Trouble of the part that acts on the message.
    pub fn trouble(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Trouble(Box::new(error))
    }

    /// The answer of a part that is brought the message of another.
    pub fn misdirected(effect: &Effect) -> Self {
        match effect {
            Effect::Unreadable(problem) => Self::Unreadable(problem.clone()),
            Effect::Fetch(_)
            | Effect::FetchNames { .. }
            | Effect::Plan(_)
            | Effect::Ready { .. }
            | Effect::Sign(_)
            | Effect::Release(_)
            | Effect::ClaimReleased { .. }
            | Effect::Ended { .. } => Self::Misdirected {
                wants: wants(effect),
            },
        }
    }
}

/// The part of the line that acts on a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// Fetches what was announced, and what platforms' repositories have.
    Fetcher,
    /// Plans builds, and sees to it that somebody takes their tasks.
    Planner,
    Signer,
    Releaser,
}

impl Recipient {
    /// Who acts on an effect.
    pub fn of(effect: &Effect) -> Result<Self, DeliverError> {
        match effect {
            Effect::Fetch(_) | Effect::FetchNames { .. } => Ok(Self::Fetcher),
            Effect::Plan(_) | Effect::Ready { .. } | Effect::Ended { .. } => Ok(Self::Planner),
            Effect::Sign(_) => Ok(Self::Signer),
            Effect::Release(_) | Effect::ClaimReleased { .. } => Ok(Self::Releaser),
            Effect::Unreadable(problem) => Err(DeliverError::Unreadable(problem.clone())),
        }
    }
}

/// What an effect wants, in the word that stores have for it.
pub const fn wants(effect: &Effect) -> &'static str {
    match effect {
        Effect::Fetch(_) => "fetch",
        Effect::FetchNames { .. } => "fetch-names",
        Effect::Plan(_) => "plan",
        Effect::Ready { .. } => "ready",
        Effect::Sign(_) => "sign",
        Effect::Release(_) => "release",
        Effect::ClaimReleased { .. } => "claim-released",
        Effect::Ended { .. } => "ended",
        Effect::Unreadable(_) => "?",
    }
}

/// What is logged while a message is acted on has its number, how often it was delivered, what it wants, and whose it is.
pub fn span(message: &Message) -> Span {
    let span = info_span!(
        "message",
        id = message.id.0,
        deliveries = message.deliveries,
        wants = wants(&message.effect),
        push = field::Empty,
        build = field::Empty,
        task = field::Empty,
        order = field::Empty,
        platform = field::Empty,
    );
    match &message.effect {
        Effect::Fetch(announced) => record(&span, "push", &announced.id),
        Effect::Plan(push) => record(&span, "push", &push.announced.id),
        Effect::Ready { build, task } => {
            record(&span, "build", build);
            record(&span, "task", task);
        }
        Effect::Sign(order) => {
            record(&span, "build", &order.build);
            record(&span, "order", &order.id);
        }
        Effect::Release(order) => {
            record(&span, "build", &order.build);
            record(&span, "order", &order.id);
        }
        Effect::FetchNames { platform } | Effect::ClaimReleased { platform } => {
            record(&span, "platform", platform)
        }
        Effect::Ended { build } => record(&span, "build", build),
        Effect::Unreadable(_) => {}
    }
    span
}

fn record(span: &Span, name: &str, id: &impl Display) {
    span.record(name, field::display(id));
}

/// Lets the effect of a message happen, and settles it.
pub async fn act(
    message: &Message,
    state: &impl StateStore,
    to: &impl Deliver,
) -> Result<(), DeliverError> {
    to.act(&message.effect).await?;
    Ok(state.settle(message.id).await?)
}

/// Gives a message up because of this: those who wait for its effect are told, and it is settled.
pub async fn give_up(
    message: &Message,
    problem: &str,
    state: &impl StateStore,
    to: &impl Deliver,
) -> Result<(), DeliverError> {
    error!(problem, "the message is given up");
    to.give_up(&message.effect, &Message::given_up(problem))
        .await?;
    Ok(state.settle(message.id).await?)
}

/// Tells a build what came of something. One that knows it already was told by an earlier delivery.
pub async fn tell_build(
    state: &impl StateStore,
    build: &BuildId,
    event: Event,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    match advance::<Build>(state, build, event, now).await {
        Ok(_) | Err(AdvanceError::Refused(Refused::Already)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Tells a build why its order is not carried out yet. Nobody waits for that to be written down: trouble with it is logged.
pub async fn tell_waiting(
    state: &impl StateStore,
    build: &BuildId,
    order: OrderId,
    trouble: &(dyn Error + Send + Sync + 'static),
    now: Timestamp,
) {
    let reason = chain(trouble);
    let event = Event::OrderWaits { order, reason };
    match advance::<Build>(state, build, event, now).await {
        Ok(_) | Err(AdvanceError::Refused(_)) => {}
        Err(error) => warn!(
            problem = chain(&error),
            "the build is not told why it waits"
        ),
    }
}

/// Tells a build that something was given up. One that does not want it any more, or is not there, need not be told.
pub async fn tell_given_up(
    state: &impl StateStore,
    build: &BuildId,
    event: Event,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    match advance::<Build>(state, build, event, now).await {
        Ok(_) | Err(AdvanceError::Refused(_) | AdvanceError::Unknown(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
