//! Platforms that packages are built for.

use crate::{ControlError, NotFound};
use millrace_core::access::Actor;
use millrace_core::ownership::ReleaseTarget;
use millrace_core::platform::Platform;
use millrace_core::push::Package;
use millrace_core::{PlatformName, Timestamp};
use millrace_store::ownership::Inventory;
use millrace_store::records::{all, create, get, remove as store_remove, replace};
use millrace_store::repository_names;
use millrace_store::{Key, StateStore, Table};
use tracing::{info, instrument};

/// Adds a platform, or replaces it: builds that are planned keep the one that they have. Its key must be there, and its first generation
/// be released: see the releaser's `prepare`.
#[instrument(skip_all, fields(actor = actor.record(), platform = %platform.name))]
pub async fn add(
    actor: &Actor,
    platform: &Platform,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), ControlError> {
    info!("asked to add or change a platform");
    if get::<Platform>(state, Table::Platform, platform.name.as_str())
        .await?
        .is_none()
    {
        begin_inventory(platform, state, now).await?;
    }
    replace(state, Table::Platform, platform.name.as_str(), platform).await?;
    Ok(repository_names::prepare(platform, state, now).await?)
}

/// A new platform has released nothing, so nobody need look through it for whose names are whose. One that was there before has its
/// inventory.
async fn begin_inventory(
    platform: &Platform,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), ControlError> {
    let target = ReleaseTarget::of_platform(&platform.name);
    create(state, &Inventory::of_new(target, now)).await?;
    Ok(())
}

/// Forgets a platform: nothing is built for it from now on. What is released for it stays and is served, and builds that are planned go on.
/// One that a package is registered for is not forgotten.
#[instrument(skip_all, fields(actor = actor.record(), platform = %name))]
pub async fn remove(
    actor: &Actor,
    name: &PlatformName,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to remove a platform");
    let packages: Vec<Package> = all(state, Table::Package).await?;
    if let Some(package) = packages
        .iter()
        .find(|package| package.platforms.contains(name))
    {
        let package = &package.name;
        return Err(ControlError::Invalid(format!(
            "package {package} is registered for platform {name}: `millrace package edit {package}` names others, or `millrace package remove {package}`"
        )));
    }
    let key = Key::new(Table::Platform, name.as_str());
    if store_remove(state, &key).await? {
        Ok(())
    } else {
        Err(NotFound::Platform(name.clone()).into())
    }
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
