//! Whether a build comes out the same again: what was in its roots, and the same build from exactly that.

use crate::{ControlError, build};
use millrace_core::access::Actor;
use millrace_core::build::Build;
use millrace_core::push::{Announced, BuildOptions};
use millrace_core::roots::{LOCK_BYTES_MAX, Lock};
use millrace_core::task::{AttemptEnd, Task, TaskId};
use millrace_core::{PackageName, PushId, RunnerName, Timestamp};
use millrace_store::roots::lock_of;
use millrace_store::{BlobStore, StateStore};
use std::collections::BTreeMap;
use tracing::{info, instrument};

/// What was in the roots of a build.
pub async fn show(build: &Build, blobs: &impl BlobStore) -> Result<Lock, ControlError> {
    lock_of(blobs, build).await?.ok_or_else(|| {
        ControlError::Invalid(format!(
            "nothing is known of the roots of build {}: its runners are of a version that did not write it down, or it had none",
            build.id
        ))
    })
}

/// Lets a build of a package be done in exactly the roots of this lock: keeps it, and names it in the build's options.
pub async fn require(
    text: Vec<u8>,
    package: &PackageName,
    options: &mut BuildOptions,
    blobs: &impl BlobStore,
) -> Result<(), ControlError> {
    if text.len() as u64 > LOCK_BYTES_MAX {
        return Err(ControlError::Invalid(format!(
            "a lock has at most {LOCK_BYTES_MAX} bytes"
        )));
    }
    let lock = Lock::parse(&text)?;
    fits(&lock, package, options)?;
    options.platforms = vec![lock.platform];
    options.lock = Some(blobs.put(text).await?);
    Ok(())
}

/// Refuses a lock of another package or platform.
fn fits(lock: &Lock, package: &PackageName, options: &BuildOptions) -> Result<(), ControlError> {
    if lock.package != *package {
        return Err(ControlError::Invalid(format!(
            "the lock is of package {}, not of {package}",
            lock.package
        )));
    }
    if !options.platforms.is_empty() && options.platforms != [lock.platform.clone()] {
        return Err(ControlError::Invalid(format!(
            "the lock is of platform {}: its roots can be made for no other",
            lock.platform
        )));
    }
    Ok(())
}

/// A build that is done again to be compared.
#[derive(Debug)]
pub struct Verification {
    /// What was asked for.
    pub announced: Announced,
    /// Whether its roots are those of the first build; else nothing is known of them, and they are made again.
    pub is_locked: bool,
}

/// Builds a build again from exactly what was in its roots, on other runners than those that did it; on any if `same_runner` is set.
/// Nothing of it is released.
#[instrument(skip_all, fields(actor = actor.record(), push = %id, build = %first.id))]
pub async fn verify(
    actor: &Actor,
    first: &Build,
    id: PushId,
    same_runner: bool,
    stores: &(impl StateStore + BlobStore),
    now: Timestamp,
) -> Result<Verification, ControlError> {
    info!("asked to verify a build");
    let has_files = first.tasks.iter().any(|task| !task.artifacts().is_empty());
    if !first.is_ended() || !has_files {
        return Err(ControlError::Invalid(format!(
            "build {} is {} and has handed over nothing that could be compared",
            first.id,
            first.word()
        )));
    }
    let lock = match lock_of(stores, first).await? {
        Some(lock) => Some(stores.put(to_json(&lock)).await?),
        None => None,
    };
    let not_by = match same_runner {
        true => BTreeMap::new(),
        false => first.tasks.iter().filter_map(done_by).collect(),
    };
    let options = BuildOptions {
        lock,
        not_by,
        scratch: true,
        ..BuildOptions::default()
    };
    let announced = build::clone(actor, first, id, options, stores, now).await?;
    Ok(Verification {
        announced,
        is_locked: lock.is_some(),
    })
}

fn to_json(lock: &Lock) -> Vec<u8> {
    serde_json::to_vec(lock).expect("a lock is made of texts and numbers")
}

/// Who did a task.
fn done_by(task: &Task) -> Option<(TaskId, RunnerName)> {
    let answered = task
        .attempts
        .iter()
        .rev()
        .find(|attempt| matches!(attempt.end, AttemptEnd::Answered))?;
    Some((task.id.clone(), answered.runner.clone()))
}
