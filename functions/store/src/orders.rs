//! Orders as they were given: written together with the state that gave them, never changed, and kept for people who ask later what was
//! signed and released by whose word.

use crate::records::{get, write};
use crate::state::{Expect, StateError, StateStore, Table, Write};
use millrace_core::order::{Effect, OrderId, ReleaseOrder, SignOrder};
use serde::{Deserialize, Serialize};

/// An order that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    Sign(SignOrder),
    Release(ReleaseOrder),
}

/// Reads an order.
pub async fn load_order(
    state: &impl StateStore,
    id: &OrderId,
) -> Result<Option<Order>, StateError> {
    Ok(get(state, Table::Order, &id.hex())
        .await?
        .map(|(order, _)| order))
}

/// The write that keeps an order, if an effect is one. A build that is retried gives the same order again, which is kept by then.
pub(crate) async fn keep(
    state: &impl StateStore,
    effect: &Effect,
) -> Result<Option<Write>, StateError> {
    let (id, order) = match effect {
        Effect::Sign(order) => (order.id, Order::Sign(order.clone())),
        Effect::Release(order) => (order.id, Order::Release(order.clone())),
        Effect::Fetch(_)
        | Effect::FetchNames { .. }
        | Effect::Plan(_)
        | Effect::Ready { .. }
        | Effect::ClaimReleased { .. }
        | Effect::Ended { .. }
        | Effect::Unreadable(_) => {
            return Ok(None);
        }
    };
    if load_order(state, &id).await?.is_some() {
        return Ok(None);
    }
    write(Table::Order, &id.hex(), Expect::Absent, &order, Vec::new()).map(Some)
}
