//! Acts on sign orders: signs what the build's record vouches for, and tells the build.

use crate::error::SignError;
use crate::file::sign_file;
use crate::keys::Keys;
use crate::noarch::check_noarch;
use crate::ownership::Names;
use millrace_core::Timestamp;
use millrace_core::build::{Build, Event, Refused};
use millrace_core::order::{SignOrder, SignedFile};
use millrace_store::builds::load_build;
use millrace_store::{
    AdvanceError, BlobStore, StateStore, tell_build, tell_given_up, tell_waiting,
};
use tracing::{info, warn};

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignOutcome {
    /// All files are signed, now or before, and the build knows.
    Signed,
    /// It will not be signed, for this reason, and the build knows.
    Refused(String),
    /// The build does not want it, or not any more; nothing was changed.
    NotWanted(String),
}

/// Carries out an order of a build, and tells the build.
///
/// `Err` is passing trouble: deliver the order again. The same order twice has the same outcome, and the build hears it once.
pub async fn sign<S: StateStore, B: BlobStore, K: Keys>(
    order: &SignOrder,
    keys: &K,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<SignOutcome, SignError> {
    let (build, _) = load_build(state, &order.build)
        .await?
        .ok_or_else(|| SignError::UnknownBuild(order.build.clone()))?;
    if let Err(reason) = build.vouches_for_signing(order) {
        let outcome = SignOutcome::NotWanted(reason);
        say(order, &outcome);
        return Ok(outcome);
    }
    let (event, outcome) = match sign_own(order, &build, keys, state, blobs, now).await {
        Ok(files) => (
            Event::Signed {
                order: order.id,
                files,
            },
            SignOutcome::Signed,
        ),
        Err(error) if error.is_refusal() => {
            let reason = error.to_string();
            (
                Event::SignRefused {
                    order: order.id,
                    reason: reason.clone(),
                },
                SignOutcome::Refused(reason),
            )
        }
        Err(error) => {
            tell_waiting(state, &order.build, order.id, &error, now).await;
            return Err(error);
        }
    };
    match tell_build(state, &order.build, event, now).await {
        Ok(()) => {
            say(order, &outcome);
            Ok(outcome)
        }
        Err(AdvanceError::Refused(
            refused @ (Refused::WrongStage(_) | Refused::WrongOrder { .. }),
        )) => Ok(SignOutcome::NotWanted(refused.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Signs an order's files if all of their names are the package's own, and claims those that nobody had.
async fn sign_own(
    order: &SignOrder,
    build: &Build,
    keys: &impl Keys,
    state: &impl StateStore,
    blobs: &impl BlobStore,
    now: Timestamp,
) -> Result<Vec<SignedFile>, SignError> {
    check_noarch(build, blobs).await?;
    let names = Names::read(order, build, state, blobs).await?;
    let decision = names.judge(state, blobs, now).await?;
    for shared in &decision.judged.shared {
        info!(%shared, "a capability is another package's, too");
    }
    let files = sign_files(order, keys, blobs).await?;
    names.claim(order, decision, state, blobs, now).await?;
    Ok(files)
}

/// Says in the log what became of an order.
fn say(order: &SignOrder, outcome: &SignOutcome) {
    let (files, key) = (order.files.len(), &order.key);
    match outcome {
        SignOutcome::Signed => info!(files, %key, "packages are signed"),
        SignOutcome::Refused(reason) => warn!(files, %key, reason, "packages are not signed"),
        SignOutcome::NotWanted(reason) => {
            info!(reason, "the build does not want this order signed")
        }
    }
}

/// Tells the build that its order is given up, if the build still wants it. A retry may help after an error.
pub async fn give_up(
    order: &SignOrder,
    reason: &str,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    let event = Event::SignRefused {
        order: order.id,
        reason: reason.to_owned(),
    };
    tell_given_up(state, &order.build, event, now).await
}

/// Signs an order's files, in its order, without asking who vouches for it: either all of them count or none.
pub async fn sign_files(
    order: &SignOrder,
    keys: &impl Keys,
    blobs: &impl BlobStore,
) -> Result<Vec<SignedFile>, SignError> {
    let mut signed = Vec::with_capacity(order.files.len());
    for file in &order.files {
        signed.push(sign_file(order, file, keys, blobs).await?);
    }
    Ok(signed)
}
