//! Builds: asked for, done again, cancelled.

use crate::{ControlError, NotFound, package};
use millrace_core::access::Actor;
use millrace_core::build::{Build, Event};
use millrace_core::push::{Announced, BuildOptions, Commit as GitCommit};
use millrace_core::task::TaskId;
use millrace_core::{BuildId, PackageName, PushId, Timestamp};
use millrace_store::builds::{create_push, load_build};
use millrace_store::index::BUILDS;
use millrace_store::{SaveError, StateStore, advance};
use tracing::{info, instrument};

/// Builds looked through for the beginning of an id.
const BUILDS_MAX: usize = 1000;

/// Digits of a whole id.
const ID_DIGITS: usize = 12;

/// A build that somebody asks for.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The push that it comes from, which no forge has heard of: [`push_id`].
    pub id: PushId,
    pub package: PackageName,
    /// `refs/heads/…` or `refs/tags/…`.
    pub reference: String,
    /// In the reference's history.
    pub commit: GitCommit,
    /// How to build it.
    pub options: BuildOptions,
}

/// Tasks that somebody wants done again.
#[derive(Debug, Clone, Default)]
pub struct RetryRequest {
    /// Which; if it is none, all that ended without a good result.
    pub task: Option<TaskId>,
    /// For how long the sandbox of one that fails again is held, in seconds.
    pub hold_s: Option<u32>,
}

/// The id of a push that no forge has heard of, from random bytes.
pub fn push_id(random: [u8; 8]) -> PushId {
    let number: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    PushId::of_delivery("command line", &number)
}

/// Builds a package, as if it had been pushed.
#[instrument(skip_all, fields(actor = actor.record(), push = %request.id, package = %request.package))]
pub async fn build(
    actor: &Actor,
    request: BuildRequest,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Announced, ControlError> {
    info!("asked to build a package");
    let package = package::show(&request.package, state).await?;
    let announced = Announced {
        id: request.id,
        package: package.name,
        clone_url: package.clone_url,
        reference: request.reference,
        commit: request.commit,
        pusher: actor.to_string(),
        received: now,
        options: request.options,
    };
    announce(announced, state).await
}

/// Builds again what a build was made from: the same commit on the same platform, with its options unless there are others.
#[instrument(skip_all, fields(actor = actor.record(), push = %id, build = %build.id))]
pub async fn clone(
    actor: &Actor,
    build: &Build,
    id: PushId,
    options: BuildOptions,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Announced, ControlError> {
    info!("asked to build again");
    let before = &build.push.announced;
    let announced = Announced {
        id,
        pusher: actor.to_string(),
        received: now,
        options: options.of_clone(&before.options, &build.platform.name),
        ..before.clone()
    };
    announce(announced, state).await
}

/// Writes a push down as a webhook would, with the message to fetch it.
async fn announce(
    announced: Announced,
    state: &impl StateStore,
) -> Result<Announced, ControlError> {
    create_push(state, announced.clone()).await?;
    Ok(announced)
}

/// Stops a build whose tasks are not all done. What runs is dropped.
#[instrument(skip_all, fields(actor = actor.record(), %build))]
pub async fn cancel(
    actor: &Actor,
    build: &BuildId,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Build, ControlError> {
    info!("asked to cancel the build");
    let event = Event::Cancel { by: actor.clone() };
    Ok(advance(state, build, event, now).await?)
}

/// Lets tasks be done again that failed, were quarantined or were dropped.
#[instrument(skip_all, fields(actor = actor.record(), build = %build.id))]
pub async fn retry(
    actor: &Actor,
    build: &Build,
    request: RetryRequest,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Build, ControlError> {
    info!("asked to retry tasks");
    if let Some(task) = &request.task {
        has_task(build, task)?;
    }
    let event = Event::Retry {
        task: request.task,
        by: actor.clone(),
        hold_s: request.hold_s,
    };
    Ok(advance(state, &build.id, event, now).await?)
}

/// Refuses a task that the build does not have.
pub(crate) fn has_task(build: &Build, task: &TaskId) -> Result<(), NotFound> {
    match build.task(task) {
        Some(_) => Ok(()),
        None => Err(NotFound::Task {
            build: build.id.clone(),
            task: task.clone(),
        }),
    }
}

/// Finds a build by its id, or by enough of its first digits.
pub async fn find(id: &str, state: &impl StateStore) -> Result<Build, ControlError> {
    let not_found = || NotFound::Build(id.to_owned());
    let mut found = match whole_id(id) {
        Some(id) => vec![id],
        None => beginning_with(id, state).await?,
    };
    if found.len() > 1 {
        let count = found.len();
        return Err(ControlError::Invalid(format!(
            "{count} builds begin with `{id}`: give more digits"
        )));
    }
    let found = found.pop().ok_or_else(not_found)?;
    let (build, _) = load_build(state, &found).await?.ok_or_else(not_found)?;
    Ok(build)
}

fn whole_id(id: &str) -> Option<BuildId> {
    (id.len() == ID_DIGITS).then(|| id.parse().ok()).flatten()
}

/// The newest builds whose ids begin so.
async fn beginning_with(
    digits: &str,
    state: &impl StateStore,
) -> Result<Vec<BuildId>, ControlError> {
    let newest = state
        .index_entries(BUILDS, None, BUILDS_MAX)
        .await
        .map_err(SaveError::State)?;
    Ok(newest
        .iter()
        .filter(|hit| hit.key.id.starts_with(digits))
        .filter_map(|hit| hit.key.id.parse().ok())
        .collect())
}
