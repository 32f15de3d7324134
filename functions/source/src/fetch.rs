//! From a push that was announced to a push whose bytes the line holds.
//!
//! Acting on one `Effect::Fetch` twice has the same result. The archive is the same bytes under the same digest, and the order to
//! plan is written at most once, together with the state that says so. Even a second order would do no harm, since the ids of
//! builds follow from push and platform.

use crate::error::{FetchError, Refusal, Stop};
use crate::fetcher::{Bounds, Fetcher};
use crate::git::{Archive, Limits, archive, fetch_commit};
use crate::lookaside::obtain;
use millrace_core::PushId;
use millrace_core::order::Effect;
use millrace_core::push::{Announced, Push, PushRecord, PushState};
use millrace_store::builds::load_push;
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{BlobStore, Commit, Expect, SaveError, StateStore, Stored, Version, chain};
use std::path::PathBuf;
use std::time::Instant;
use tracing::{info, warn};

/// Largest push, in bytes of JSON: every build keeps it, and a build's record of at most 380 KB must hold its tasks besides.
const PUSH_BYTES_MAX: usize = 192 * 1024;

/// Fetches what was announced, keeps it, and has it planned. What its author must fix is written into the push's record and is no
/// error here; an error is a temporary failure, and the message should be delivered again.
pub async fn fetch(
    announced: &Announced,
    fetcher: &Fetcher,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<(), FetchError> {
    if waiting(state, &announced.id).await?.is_none() {
        return Ok(());
    }
    let time = fetcher.bounds.time;
    let until = Instant::now() + time;
    match assemble(announced, fetcher, until, state, blobs).await {
        Ok(push) => {
            let sources = push.sources.len();
            hand_over(push, state).await?;
            info!(package = %announced.package, commit = %announced.commit, sources, "a push is fetched");
            Ok(())
        }
        Err(Stop::Refused(refusal)) => {
            refuse(&announced.id, refusal.to_string(), state).await?;
            warn!(problem = chain(&refusal), "the push is refused");
            Ok(())
        }
        Err(Stop::Temporary(error)) if Instant::now() >= until => Err(FetchError::Slow {
            time,
            last: Box::new(error),
        }),
        Err(Stop::Temporary(error)) => Err(error),
    }
}

/// Says in the push's record why it was not fetched: for an `Effect::Fetch` that is about to be a dead letter. A push that was
/// fetched meanwhile stays as it is.
pub async fn give_up(
    announced: &Announced,
    reason: &str,
    state: &impl StateStore,
) -> Result<(), FetchError> {
    let reason =
        format!("not fetched after {DELIVERIES_MAX} tries; push again when this is over: {reason}");
    refuse(&announced.id, reason, state).await
}

async fn assemble(
    announced: &Announced,
    fetcher: &Fetcher,
    until: Instant,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<Push, Stop> {
    let folder = fetcher.folder()?;
    let bounds = fetcher.bounds;
    let checked_out = check_out(announced.clone(), bounds, until, folder.path().to_owned()).await?;
    let mut sources = Vec::new();
    let mut bytes = 0_u64;
    for wanted in &checked_out.wanted {
        let source = obtain(wanted, &announced.package, fetcher, until, state, blobs).await?;
        bytes = bytes.saturating_add(source.size);
        if bytes > bounds.sources_bytes {
            return Err(Refusal::LargeSources {
                bytes_max: bounds.sources_bytes,
            }
            .into());
        }
        sources.push(source);
    }
    let (tree, tree_bytes) = blobs.put_file(&checked_out.path).await?;
    let Archive {
        committed_s,
        subject,
        spec,
        config,
        ..
    } = checked_out;
    let push = Push {
        announced: announced.clone(),
        committed_s,
        subject,
        tree,
        tree_bytes,
        spec,
        sources,
        config,
    };
    fits(&push)?;
    Ok(push)
}

/// Everything that blocks, on a thread that may.
async fn check_out(
    announced: Announced,
    bounds: Bounds,
    until: Instant,
    folder: PathBuf,
) -> Result<Archive, Stop> {
    let limits = Limits {
        pack_bytes: bounds.pack_bytes,
        until,
    };
    let work = move || {
        let (repository, commit) =
            fetch_commit(&announced, limits, &folder.join("repository.git"))?;
        archive(
            &repository,
            commit,
            &announced.package,
            bounds.tree_bytes,
            &folder.join("tree.tar"),
        )
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| FetchError::Stopped)?
}

fn fits(push: &Push) -> Result<(), Refusal> {
    let bytes = serde_json::to_vec(push).map_or(usize::MAX, |json| json.len());
    if bytes > PUSH_BYTES_MAX {
        Err(Refusal::ManyWords {
            bytes,
            bytes_max: PUSH_BYTES_MAX,
        })
    } else {
        Ok(())
    }
}

/// The push's record, if nobody has decided about it yet.
async fn waiting(
    state: &impl StateStore,
    id: &PushId,
) -> Result<Option<(PushRecord, Version)>, FetchError> {
    let (record, version) = load_push(state, id)
        .await?
        .ok_or_else(|| FetchError::Unknown(id.clone()))?;
    Ok((record.state == PushState::Fetching).then_some((record, version)))
}

/// Writes that the push was fetched together with the order to plan it.
async fn hand_over(push: Push, state: &impl StateStore) -> Result<(), FetchError> {
    let id = push.announced.id.clone();
    let plan = Effect::Plan(Box::new(push));
    decide(&id, &PushState::Fetched, &[plan], state).await
}

async fn refuse(id: &PushId, reason: String, state: &impl StateStore) -> Result<(), FetchError> {
    decide(id, &PushState::Refused { reason }, &[], state).await
}

/// Writes what became of a push, on the condition that nobody has decided about it yet. A push changes a handful of times in its
/// life, so the loop ends.
async fn decide(
    id: &PushId,
    decision: &PushState,
    effects: &[Effect],
    state: &impl StateStore,
) -> Result<(), FetchError> {
    while let Some((mut record, version)) = waiting(state, id).await? {
        record.state = decision.clone();
        let commit = Commit {
            writes: vec![record.write(Expect::Version(version))?],
            effects: effects.to_vec(),
        };
        match state.save(commit).await {
            Ok(()) => return Ok(()),
            Err(SaveError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
