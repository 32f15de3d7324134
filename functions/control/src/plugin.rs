//! Plugins that do the steps of a platform.

use crate::ControlError;
use millrace_core::PluginName;
use millrace_core::access::Actor;
use millrace_core::plugin::{Plugin, is_component};
use millrace_store::records::{all, get, replace};
use millrace_store::{BlobStore, StateStore, Table};
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
