//! Acts on release orders: carries one out or takes it back, and tells the build.

use crate::change::{CONFLICTS_MAX, Change, ChangeOutcome, SealingKey};
use crate::error::{ReleaseError, ReleaseRefusal};
use crate::generation::manifest::Generation;
use crate::generation::root::{
    Current, GenerationRef, OrderState, order_state, read_current, withdraw_order,
};
use crate::metadata::cache::MetadataCache;
use crate::metadata::package::describe;
use crate::seal::Seal;
use millrace_core::Timestamp;
use millrace_core::build::Event;
use millrace_core::order::ReleaseOrder;
use millrace_store::builds::load_build;
use millrace_store::{BlobStore, StateStore, tell_build, tell_given_up, tell_waiting};
use tracing::{info, warn};

/// Acts on an order: releases, and tells the build. Doing it twice has the same result.
pub async fn release<S: StateStore, B: BlobStore>(
    order: &ReleaseOrder,
    seal: &impl Seal,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let build = load_build(state, &order.build).await?;
    // A build that does not want this any more, or never did, gets nothing: a message that comes late does no harm.
    if build.is_none_or(|(build, _)| build.vouches_for_release(order).is_err()) {
        return Ok(());
    }
    let published = match publish(order, seal, blobs, now).await {
        Ok(released) => Ok(released),
        Err(ReleaseError::Refused(refusal)) => Err(refusal.to_string()),
        Err(error) => {
            tell_waiting(state, &order.build, order.id, &error, now).await;
            return Err(error);
        }
    };
    let event = match &published {
        Ok(released) => released_event(order, *released),
        Err(reason) => refused_event(order, reason.clone()),
    };
    tell_build(state, &order.build, event, now).await?;
    let platform = &order.platform;
    match published {
        Ok(released) => info!(%platform, generation = released.number, "packages are released"),
        Err(reason) => warn!(%platform, reason, "packages are not released"),
    }
    Ok(())
}

/// Takes an order back, and tells the build; if it is out by now, the build hears that instead. A retry may help after an error.
pub async fn give_up<S: StateStore, B: BlobStore>(
    order: &ReleaseOrder,
    reason: &str,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let event = match withdraw(order, blobs).await? {
        Some(released) => released_event(order, released),
        None => refused_event(order, reason.to_owned()),
    };
    Ok(tell_given_up(state, &order.build, event, now).await?)
}

/// Puts an order's packages into the repositories. Answers the generation that first had them.
pub async fn publish(
    order: &ReleaseOrder,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<GenerationRef, ReleaseError> {
    let current = read_current(&order.platform, blobs).await?;
    // What is out is out: an order that was carried out before is answered so, even if its packages were lost since, or this releaser
    // asks more of them than the one that carried it out.
    if let Some(current) = &current
        && let Some(released) = current.carried_out(&order.id, blobs).await?
    {
        return Ok(released);
    }
    let mut metadata = MetadataCache::default();
    let packages = describe(order, blobs).await?;
    let kept = metadata.keep(packages, blobs).await?;
    let add_packages =
        |before: &Generation, current: Option<&Current>| match order_state(&order.id, current) {
            OrderState::Open => Ok(Some(before.clone().with_order(order, &kept)?)),
            OrderState::CarriedOut { .. } => Ok(None),
            OrderState::Withdrawn => Err(ReleaseRefusal::Withdrawn.into()),
        };
    let change = Change {
        platform: &order.platform,
        sealing: SealingKey::AsBefore(&order.key),
        metadata: &metadata,
        seal,
        blobs,
        now,
    };
    match change.make(current, add_packages).await? {
        ChangeOutcome::Released(released) => Ok(released),
        ChangeOutcome::Unchanged(current) => {
            let released = current.carried_out(&order.id, blobs).await?;
            Ok(released.unwrap_or(current.root.current))
        }
    }
}

/// Takes an order back: from now on no releaser carries it out, however late the order reaches it. If one has done so already, the
/// answer is the generation that did, and the packages stay.
///
/// Carrying out and taking back are decided by the same swap, so of two that try at once exactly one does it.
pub async fn withdraw(
    order: &ReleaseOrder,
    blobs: &impl BlobStore,
) -> Result<Option<GenerationRef>, ReleaseError> {
    for _ in 0..CONFLICTS_MAX {
        // A platform's first generation is made before the platform can be built for: before that, nothing can be out.
        let Some(current) = read_current(&order.platform, blobs).await? else {
            return Ok(None);
        };
        match current.state_of(&order.id) {
            OrderState::CarriedOut { .. } => return current.carried_out(&order.id, blobs).await,
            OrderState::Withdrawn => return Ok(None),
            OrderState::Open => {
                if withdraw_order(&order.platform, order.id, &current.root, blobs).await? {
                    return Ok(None);
                }
            }
        }
    }
    Err(ReleaseError::Busy(order.platform.clone()))
}

fn released_event(order: &ReleaseOrder, released: GenerationRef) -> Event {
    Event::Released {
        order: order.id,
        generation: released.generation,
        number: released.number,
    }
}

const fn refused_event(order: &ReleaseOrder, reason: String) -> Event {
    Event::ReleaseRefused {
        order: order.id,
        reason,
    }
}
