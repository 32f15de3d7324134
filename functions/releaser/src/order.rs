//! Acts on release orders: carries one out or takes it back, and tells the build.

use crate::change::{CONFLICTS_MAX, Changed, Sealing, change};
use crate::error::ReleaseError;
use crate::generation::manifest::Generation;
use crate::generation::root::{Released, Root, generation, numbered, root, swap_without};
use crate::metadata::cache::Shelf;
use crate::metadata::package::describe;
use crate::seal::Seal;
use millrace_core::Timestamp;
use millrace_core::build::Event;
use millrace_core::order::ReleaseOrder;
use millrace_store::builds::load_build;
use millrace_store::{BlobStore, StateStore, tell_build, tell_given_up};

/// What a releaser says that comes too late.
const WITHDRAWN: &str = "the release was given up before it was carried out: push again";

/// Acts on an order: releases, and tells the build. Doing it twice comes to the same release.
pub async fn release<S: StateStore, B: BlobStore>(
    order: &ReleaseOrder,
    seal: &impl Seal,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let build = load_build(state, &order.build).await?;
    // A build that does not want this any more, or never did, gets nothing: an effect that comes late does no harm.
    if build.is_none_or(|(build, _)| build.vouches_for_release(order).is_err()) {
        return Ok(());
    }
    let event = match publish(order, seal, blobs, now).await {
        Ok(Released { generation, number }) => Event::Released {
            order: order.id,
            generation,
            number,
        },
        Err(ReleaseError::Refused(reason)) => Event::ReleaseRefused {
            order: order.id,
            reason,
        },
        Err(error) => return Err(error),
    };
    Ok(tell_build(state, &order.build, event, now).await?)
}

/// Takes an order back, and tells the build; where it is out by now the build hears that instead. An error is passing.
pub async fn give_up<S: StateStore, B: BlobStore>(
    order: &ReleaseOrder,
    reason: &str,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<(), ReleaseError> {
    let event = match withdraw(order, blobs).await? {
        Some(Released { generation, number }) => Event::Released {
            order: order.id,
            generation,
            number,
        },
        None => Event::ReleaseRefused {
            order: order.id,
            reason: reason.to_owned(),
        },
    };
    Ok(tell_given_up(state, &order.build, event, now).await?)
}

/// Puts an order's packages into the repositories. Answers the generation that first had them.
pub async fn publish(
    order: &ReleaseOrder,
    seal: &impl Seal,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<Released, ReleaseError> {
    let mut shelf = Shelf::default();
    let metadata = match describe(order, blobs).await {
        Ok(packages) => shelf.keep(packages, blobs).await?,
        // What is out is out: an order that was carried out before is answered so, even where its packages were lost since, or
        // this releaser asks more of them than the one that carried it out.
        Err(error) => return carried_out(order, blobs).await?.ok_or(error),
    };
    let add = |current: Generation, at: Option<&Root>| {
        if current.orders.contains_key(&order.id) {
            return Ok(None);
        }
        if at.is_some_and(|root| root.has_withdrawn(&order.id)) {
            return Err(ReleaseError::Refused(WITHDRAWN.to_owned()));
        }
        Ok(Some(current.with_order(order, &metadata)?))
    };
    match change(
        &order.platform,
        Sealing::AsBefore(&order.key),
        &shelf,
        seal,
        blobs,
        now,
        add,
    )
    .await?
    {
        Changed::To(released) => Ok(released),
        Changed::Not(at) => first_with(order, at, blobs).await,
    }
}

/// Takes an order back: from now on no releaser carries it out, however late it comes to it. Where one has done so already the
/// answer is the generation that did, and the packages stay.
///
/// Carrying out and taking back are decided by the same swap, so of two that try at once exactly one does it.
pub async fn withdraw(
    order: &ReleaseOrder,
    blobs: &impl BlobStore,
) -> Result<Option<Released>, ReleaseError> {
    for _ in 0..CONFLICTS_MAX {
        // A platform's first generation is made before the platform can be built for: where there is none, nothing can be out.
        let Some(root) = root(&order.platform, blobs).await? else {
            return Ok(None);
        };
        if let Some(released) = carried_out_by(order, root.released, blobs).await? {
            return Ok(Some(released));
        }
        if root.has_withdrawn(&order.id)
            || swap_without(&order.platform, order.id, &root, blobs).await?
        {
            return Ok(None);
        }
    }
    Err(ReleaseError::Busy(order.platform.clone()))
}

/// The generation that carried an order out, if one did.
async fn carried_out(
    order: &ReleaseOrder,
    blobs: &impl BlobStore,
) -> Result<Option<Released>, ReleaseError> {
    let Some(root) = root(&order.platform, blobs).await? else {
        return Ok(None);
    };
    carried_out_by(order, root.released, blobs).await
}

/// The same as of a generation that was read.
async fn carried_out_by(
    order: &ReleaseOrder,
    at: Released,
    blobs: &impl BlobStore,
) -> Result<Option<Released>, ReleaseError> {
    let now = generation(&order.platform, &at.generation, blobs).await?;
    if now.orders.contains_key(&order.id) {
        first_with(order, at, blobs).await.map(Some)
    } else {
        Ok(None)
    }
}

/// The generation that carried an order out; `at` is one that has it.
async fn first_with(
    order: &ReleaseOrder,
    at: Released,
    blobs: &impl BlobStore,
) -> Result<Released, ReleaseError> {
    let now = generation(&order.platform, &at.generation, blobs).await?;
    let number = now.orders.get(&order.id).copied().unwrap_or(at.number);
    let found = numbered(&order.platform, at.generation, number, blobs).await?;
    Ok(found.map_or(at, |(_, generation)| Released { generation, number }))
}
