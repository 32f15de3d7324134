//! Acts on [`Effect::Plan`](millrace_core::order::Effect): a fetched push becomes builds, or is refused with the reason.

use millrace_core::build::Build;
use millrace_core::plan::{PlanError, plan as plan_build, platforms_for};
use millrace_core::platform::{PackageConfig, Platform};
use millrace_core::push::{Package, Push, PushState};
use millrace_core::{Digest, PluginName, Timestamp};
use millrace_store::builds::{create_builds, load_push};
use millrace_store::records::{all, get};
use millrace_store::{SaveError, StateError, StateStore, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A plugin as it is registered: what a step's `plugin` stands for from the next plan on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Its name.
    pub name: PluginName,
    /// The component.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Planning did not come to an end. The store's trouble: a retry may help.
#[derive(Debug, thiserror::Error)]
pub enum PlanFailure {
    /// Reading.
    #[error(transparent)]
    State(#[from] StateError),
    /// Writing.
    #[error(transparent)]
    Save(#[from] SaveError),
}

/// Plans the builds of a push, one a platform. Doing it twice comes to the same builds.
///
/// What the push's author must mend is kept with the push as its refusal; only the store's trouble is an error.
pub async fn plan(push: &Push, state: &impl StateStore, now: Timestamp) -> Result<(), PlanFailure> {
    let Some((mut record, version)) = load_push(state, &push.announced.id).await? else {
        // Pushes are written before anything is fetched for them, so there is nobody to tell.
        return Ok(());
    };
    if record.state != PushState::Fetching {
        return Ok(());
    }
    let builds = match decide(push, state, now).await? {
        Ok(builds) => builds,
        Err(reason) => {
            record.state = PushState::Refused { reason };
            return saved(create_builds(state, (&record, version), &[]).await);
        }
    };
    record.state = PushState::Planned { builds: builds.iter().map(|build| build.id.clone()).collect() };
    saved(create_builds(state, (&record, version), &builds).await)
}

/// A conflict means that the same effect was delivered twice at once, and that the other one has done it.
fn saved(result: Result<(), SaveError>) -> Result<(), PlanFailure> {
    match result {
        Ok(()) | Err(SaveError::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The builds, or why there are none.
async fn decide(push: &Push, state: &impl StateStore, now: Timestamp) -> Result<Result<Vec<Build>, String>, StateError> {
    let platforms: Vec<Platform> = all(state, Table::Platform).await?;
    let plugins: Vec<Registered> = all(state, Table::Plugin).await?;
    let plugins = plugins.into_iter().map(|plugin| (plugin.name, plugin.digest)).collect();
    let package: Option<(Package, _)> = get(state, Table::Package, push.announced.package.as_str()).await?;
    let registered = package.map(|(package, _)| package.platforms).unwrap_or_default();
    Ok(builds_of(push, &registered, &platforms, &plugins, now))
}

fn builds_of(
    push: &Push,
    registered: &[millrace_core::PlatformName],
    platforms: &[Platform],
    plugins: &BTreeMap<PluginName, Digest>,
    now: Timestamp,
) -> Result<Vec<Build>, String> {
    let config = PackageConfig::parse(&push.config).map_err(|error| error.to_string())?;
    let chosen = platforms_for(push, &config, registered, platforms).map_err(|error| error.to_string())?;
    if chosen.is_empty() {
        return Err(match platforms.is_empty() {
            true => "the line has no platform: `millrace platform add FILE` adds one".to_owned(),
            false => format!(
                "no platform builds {}: `millrace platform show NAME` tells which branches one builds",
                push.announced.reference
            ),
        });
    }
    let planned: Result<Vec<Build>, PlanError> =
        chosen.into_iter().map(|platform| plan_build(push, &config, platform, plugins, now)).collect();
    planned.map_err(|error| error.to_string())
}
