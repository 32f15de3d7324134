//! Platforms that packages are built for.

use crate::{ControlError, NotFound};
use millrace_core::PlatformName;
use millrace_core::access::Actor;
use millrace_core::platform::Platform;
use millrace_store::records::{all, get, replace};
use millrace_store::{StateStore, Table};
use tracing::{info, instrument};

/// Adds a platform, or replaces it: builds that are planned keep the one that they have. Its key must be there, and its first generation
/// be released: see the releaser's `prepare`.
#[instrument(skip_all, fields(actor = actor.record(), platform = %platform.name))]
pub async fn add(
    actor: &Actor,
    platform: &Platform,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to add or change a platform");
    Ok(replace(state, Table::Platform, platform.name.as_str(), platform).await?)
}

/// All platforms.
pub async fn list(state: &impl StateStore) -> Result<Vec<Platform>, ControlError> {
    Ok(all(state, Table::Platform).await?)
}

/// One platform.
pub async fn show(name: &PlatformName, state: &impl StateStore) -> Result<Platform, ControlError> {
    let found = get(state, Table::Platform, name.as_str()).await?;
    let (platform, _) = found.ok_or_else(|| NotFound::Platform(name.clone()))?;
    Ok(platform)
}
