//! Plugins that do the steps of a platform.

use crate::{ControlError, NotFound};
use millrace_core::PluginName;
use millrace_core::access::Actor;
use millrace_core::platform::Platform;
use millrace_core::plugin::{Plugin, is_component};
use millrace_store::records::{all, get, remove as store_remove, replace};
use millrace_store::{BlobStore, Key, StateStore, Table};
use std::path::Path;
use tracing::{info, instrument};

/// Registers a plugin from a file, or replaces it: builds that are planned keep the one that they have.
#[instrument(skip_all, fields(actor = actor.record(), plugin = %name))]
pub async fn add(
    actor: &Actor,
    name: &PluginName,
    file: &Path,
    state: &impl StateStore,
    blobs: &impl BlobStore,
) -> Result<Plugin, ControlError> {
    info!("asked to add or change a plugin");
    let bytes = std::fs::read(file).map_err(|source| ControlError::File {
        path: file.to_owned(),
        source,
    })?;
    if !is_component(&bytes) {
        return Err(ControlError::Invalid(format!(
            "{} is no WebAssembly component: build it for wasm32-wasip2, or run `wasm-tools component new` on it",
            file.display()
        )));
    }
    let (digest, size) = blobs.put_file(file).await?;
    let plugin = Plugin {
        name: name.clone(),
        digest,
        size,
    };
    replace(state, Table::Plugin, name.as_str(), &plugin).await?;
    Ok(plugin)
}

/// Forgets a plugin. Builds that are planned keep it. One that a platform's step names is not forgotten.
#[instrument(skip_all, fields(actor = actor.record(), plugin = %name))]
pub async fn remove(
    actor: &Actor,
    name: &PluginName,
    state: &impl StateStore,
) -> Result<(), ControlError> {
    info!("asked to remove a plugin");
    let platforms: Vec<Platform> = all(state, Table::Platform).await?;
    for platform in platforms {
        if let Some(step) = platform.steps.iter().find(|step| step.plugin == *name) {
            return Err(ControlError::Invalid(format!(
                "step `{}` of platform {} is done by plugin {name}: `millrace platform add FILE` with another one, or without the step, first",
                step.name, platform.name
            )));
        }
    }
    let key = Key::new(Table::Plugin, name.as_str());
    if store_remove(state, &key).await? {
        Ok(())
    } else {
        Err(NotFound::Plugin(name.clone()).into())
    }
}

/// One registered plugin.
pub async fn show(name: &PluginName, state: &impl StateStore) -> Result<Plugin, ControlError> {
    let found = registered(name, state).await?;
    Ok(found.ok_or_else(|| NotFound::Plugin(name.clone()))?)
}

/// All registered plugins.
pub async fn list(state: &impl StateStore) -> Result<Vec<Plugin>, ControlError> {
    Ok(all(state, Table::Plugin).await?)
}

/// What a name stands for now.
pub async fn registered(
    name: &PluginName,
    state: &impl StateStore,
) -> Result<Option<Plugin>, ControlError> {
    let found = get(state, Table::Plugin, name.as_str()).await?;
    Ok(found.map(|(plugin, _)| plugin))
}
