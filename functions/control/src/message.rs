//! Messages on their way between the parts of the line, and dead letters.

use crate::{ControlError, NotFound};
use millrace_core::Timestamp;
use millrace_core::access::Actor;
use millrace_store::{Message, MessageId, StateStore};
use tracing::{info, instrument};

/// Messages looked at: more than a line has on its way at its busiest.
const MESSAGES_MAX: usize = 10_000;

/// A message that nobody has settled.
#[derive(Debug, Clone)]
pub struct Unsettled {
    pub message: Message,
    /// Whether it is delivered no more.
    pub is_dead_letter: bool,
}

/// Which messages somebody wants delivered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryMessages {
    Named(Vec<MessageId>),
    /// All that were delivered before, and the dead letters.
    Delivered,
    /// All: a line in the cloud does not count the first delivery.
    All,
}

/// All messages that nobody has settled, the oldest first.
pub async fn list(state: &impl StateStore) -> Result<Vec<Unsettled>, ControlError> {
    let on_their_way = state.unsettled(MESSAGES_MAX).await?;
    let dead = state.dead_letters(MESSAGES_MAX).await?;
    let unsettled = |is_dead_letter| {
        move |message| Unsettled {
            message,
            is_dead_letter,
        }
    };
    let mut all: Vec<Unsettled> = on_their_way
        .into_iter()
        .map(unsettled(false))
        .chain(dead.into_iter().map(unsettled(true)))
        .collect();
    all.sort_by_key(|one| one.message.id);
    Ok(all)
}

/// Delivers messages again, as if they had never been delivered; says how many.
#[instrument(skip_all, fields(actor = actor.record()))]
pub async fn retry(
    actor: &Actor,
    which: RetryMessages,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<usize, ControlError> {
    info!("asked to deliver messages again");
    let (ids, must_exist) = match which {
        RetryMessages::Named(ids) => (ids, true),
        RetryMessages::Delivered => (ids_of(list(state).await?, was_delivered), false),
        RetryMessages::All => (ids_of(list(state).await?, |_| true), false),
    };
    let mut again = 0;
    for id in ids {
        if state.put_back(id, now).await? {
            again += 1;
        } else if must_exist {
            return Err(NotFound::Message(id).into());
        }
    }
    Ok(again)
}

fn was_delivered(one: &Unsettled) -> bool {
    one.is_dead_letter || one.message.deliveries > 0
}

fn ids_of(all: Vec<Unsettled>, is_meant: impl Fn(&Unsettled) -> bool) -> Vec<MessageId> {
    all.into_iter()
        .filter(is_meant)
        .map(|one| one.message.id)
        .collect()
}
