//! Acts on [`Effect::Plan`](millrace_core::order::Effect): a fetched push becomes builds, or is refused with the reason.

use millrace_core::build::Build;
use millrace_core::plan::{PlanError, plan as plan_build, platforms_for};
use millrace_core::platform::{PackageConfig, Platform};
use millrace_core::plugin::Plugin;
use millrace_core::push::{Package, Push, PushRecord, PushState};
use millrace_core::{Digest, PluginName, Timestamp};
use millrace_store::builds::{create_builds, load_push};
use millrace_store::records::{all, get};
use millrace_store::state::DELIVERIES_MAX;
use millrace_store::{SaveError, StateError, StateStore, Table, Version};
use std::collections::BTreeMap;
use tracing::{info, warn};

/// Times that a push is planned again because somebody else wrote first: its record changes a handful of times in its life.
const CONFLICTS_MAX: usize = 10;

/// Planning did not end. The store's trouble: a retry may help.
#[derive(Debug, thiserror::Error)]
pub enum PlanFailure {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// Plans the builds of a push, one per platform. Doing it twice gives the same builds.
///
/// What the push's author must mend is kept with the push as its refusal; only the store's trouble is an error.
pub async fn plan(push: &Push, state: &impl StateStore, now: Timestamp) -> Result<(), PlanFailure> {
    settle(push, None, state, now).await
}

/// Refuses a push that nobody has planned by now, because it was tried often enough. Records from before there was
/// [`PushState::Fetched`] are refused from [`PushState::Fetching`].
pub async fn give_up(
    push: &Push,
    reason: &str,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), PlanFailure> {
    let reason =
        format!("not planned after {DELIVERIES_MAX} tries; push again when this is over: {reason}");
    settle(push, Some(reason), state, now).await
}

/// Decides about a push, or refuses it for this reason; and writes that down, unless somebody else has decided.
async fn settle(
    push: &Push,
    given_up: Option<String>,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), PlanFailure> {
    let mut tries = 0;
    while let Some((mut record, version)) = unplanned(push, state).await? {
        let decided = match &given_up {
            Some(reason) => Err(reason.clone()),
            None => decide(push, state, now).await?,
        };
        let builds = match decided {
            Ok(builds) => {
                record.state = PushState::Planned {
                    builds: builds.iter().map(|build| build.id.clone()).collect(),
                };
                builds
            }
            Err(reason) => {
                record.state = PushState::Refused { reason };
                Vec::new()
            }
        };
        match create_builds(state, (&record, version), &builds).await {
            Ok(()) => {
                say(&record, &builds);
                break;
            }
            // The same effect may have been delivered twice at once; the record says whether the other one has done it.
            Err(SaveError::Conflict(_)) if tries < CONFLICTS_MAX => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Says in the log what was decided.
fn say(record: &PushRecord, builds: &[Build]) {
    for build in builds {
        info!(build = %build.id, platform = %build.platform.name, "a build is planned");
    }
    if let PushState::Refused { reason } = &record.state {
        warn!(reason, "the push is refused");
    }
}

/// The push's record, if nobody has decided about it. Pushes are written before anything is fetched for them, so if there is none there is
/// nobody to tell. Records from before there was [`PushState::Fetched`] say [`PushState::Fetching`].
async fn unplanned(
    push: &Push,
    state: &impl StateStore,
) -> Result<Option<(PushRecord, Version)>, StateError> {
    let known = load_push(state, &push.announced.id).await?;
    Ok(known.filter(|(record, _)| match record.state {
        PushState::Fetching | PushState::Fetched => true,
        PushState::Planned { .. } | PushState::Refused { .. } => false,
    }))
}

/// The builds, or why there are none.
async fn decide(
    push: &Push,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Result<Vec<Build>, String>, StateError> {
    let platforms: Vec<Platform> = all(state, Table::Platform).await?;
    let plugins: Vec<Plugin> = all(state, Table::Plugin).await?;
    let plugins = plugins
        .into_iter()
        .map(|plugin| (plugin.name, plugin.digest))
        .collect();
    let package: Option<(Package, _)> =
        get(state, Table::Package, push.announced.package.as_str()).await?;
    let package = package.map(|(package, _)| package);
    Ok(builds_of(push, package.as_ref(), &platforms, &plugins, now))
}

fn builds_of(
    push: &Push,
    package: Option<&Package>,
    platforms: &[Platform],
    plugins: &BTreeMap<PluginName, Digest>,
    now: Timestamp,
) -> Result<Vec<Build>, String> {
    if let Some(suspended) = package.and_then(|package| package.suspended.as_ref()) {
        return Err(suspended.words(&push.announced.package));
    }
    let config = PackageConfig::parse(&push.config).map_err(|error| error.to_string())?;
    let registered = package
        .map(|package| package.platforms.clone())
        .unwrap_or_default();
    let chosen =
        platforms_for(push, &config, &registered, platforms).map_err(|error| error.to_string())?;
    if chosen.is_empty() {
        return Err(match platforms.is_empty() {
            true => "the line has no platform: `millrace platform add FILE` adds one".to_owned(),
            false => format!(
                "no platform builds {}: `millrace platform show NAME` tells which branches one builds",
                push.announced.reference
            ),
        });
    }
    let rank = push.announced.rank(package);
    let build = |platform| {
        Ok(Build {
            rank: rank.clone(),
            ..plan_build(push, &config, platform, plugins, now)?
        })
    };
    let planned: Result<Vec<Build>, PlanError> = chosen.into_iter().map(build).collect();
    planned.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::testing;
    use millrace_store::memory::MemoryStore;
    use millrace_store::{Expect, Stored};
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    const NOW: Timestamp = Timestamp(1_000);

    fn push() -> Push {
        testing::push("zlib", 1)
    }

    async fn keep(store: &MemoryStore, expect: Expect, state: PushState) {
        let record = PushRecord {
            announced: push().announced,
            state,
        };
        let write = record.write(expect).unwrap();
        store.save(write.into()).await.unwrap();
    }

    async fn record(store: &MemoryStore) -> (PushRecord, Version) {
        load_push(store, &push().announced.id)
            .await
            .unwrap()
            .unwrap()
    }

    #[tokio::test]
    async fn a_push_is_planned_from_fetched_and_in_old_records_from_fetching() {
        for state in [PushState::Fetching, PushState::Fetched] {
            let store = MemoryStore::new();
            keep(&store, Expect::Absent, state).await;
            plan(&push(), &store, NOW).await.unwrap();
            let reason =
                "the line has no platform: `millrace platform add FILE` adds one".to_owned();
            assert_eq!(record(&store).await.0.state, PushState::Refused { reason });
        }
        let store = MemoryStore::new();
        let refused = PushState::Refused {
            reason: "given up".to_owned(),
        };
        keep(&store, Expect::Absent, refused.clone()).await;
        plan(&push(), &store, NOW).await.unwrap();
        assert_eq!(
            record(&store).await.0.state,
            refused,
            "what was decided stays"
        );
    }

    #[tokio::test]
    async fn giving_up_refuses_what_is_not_planned_and_leaves_what_is_decided() {
        for state in [PushState::Fetching, PushState::Fetched] {
            let store = MemoryStore::new();
            keep(&store, Expect::Absent, state).await;
            give_up(&push(), "the store is full", &store, NOW)
                .await
                .unwrap();
            let reason =
                "not planned after 10 tries; push again when this is over: the store is full"
                    .to_owned();
            assert_eq!(record(&store).await.0.state, PushState::Refused { reason });
        }
        let store = MemoryStore::new();
        let planned = PushState::Planned { builds: Vec::new() };
        keep(&store, Expect::Absent, planned.clone()).await;
        give_up(&push(), "too slow", &store, NOW).await.unwrap();
        assert_eq!(record(&store).await.0.state, planned);
    }

    #[tokio::test]
    async fn a_record_that_changes_while_a_push_is_planned_is_read_again() {
        let mut conflicts = 0;
        for pauses in 0.. {
            let store = MemoryStore::with_yields();
            keep(&store, Expect::Absent, PushState::Fetching).await;
            let (push, mut left) = (push(), pauses);
            let mut planning = pin!(plan(&push, &store, NOW));
            let ended = poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(false);
                }
                left -= 1;
                planning.as_mut().poll(context).map(|_| true)
            });
            if ended.await {
                break;
            }
            let (before, version) = record(&store).await;
            if before.state == PushState::Fetching {
                keep(&store, Expect::Version(version), PushState::Fetched).await;
                conflicts += 1;
            }
            planning.await.unwrap();
            assert!(
                matches!(record(&store).await.0.state, PushState::Refused { .. }),
                "forgotten after {pauses} pauses"
            );
        }
        assert!(
            conflicts > 5,
            "{conflicts} places to come between are too few"
        );
    }
}
