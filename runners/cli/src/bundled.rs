//! The plugins that come with the program: registered at the start of the line, unless somebody has added others by their names.

use crate::state::Folder;
use crate::store::Store;
use anyhow::{Context, Result, ensure};
use millrace_control::plugin;
use millrace_core::access::Actor;
use millrace_core::{Digest, PluginName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// In the state folder: which file each bundled plugin was last registered from, by its digest.
const MEMORY: &str = "bundled-plugins.json";

/// What is done with a bundled plugin.
#[derive(Debug, PartialEq, Eq)]
enum BundledUpdate {
    /// It is registered already.
    Nothing,
    /// It is new, or has changed since it was registered from here.
    Register,
    /// Somebody has put another in its place since.
    LeaveTheOther,
}

/// `last` is what was registered from here, `registered` what the name stands for now.
fn update(bundled: Digest, last: Option<Digest>, registered: Option<Digest>) -> BundledUpdate {
    match registered {
        None => BundledUpdate::Register,
        Some(registered) if registered == bundled => BundledUpdate::Nothing,
        Some(_) if last.is_some_and(|last| last != bundled) => BundledUpdate::Register,
        Some(_) => BundledUpdate::LeaveTheOther,
    }
}

/// Registers what is in a folder, or beside this program.
pub(crate) async fn register(folder: &Folder, store: &Store, named: Option<&Path>) -> Result<()> {
    let beside = || {
        std::env::current_exe()
            .ok()
            .and_then(|program| Some(program.parent()?.join("plugins")))
    };
    let Some(plugins) = named
        .map(Path::to_owned)
        .or_else(|| beside().filter(|folder| folder.is_dir()))
    else {
        warn!(
            "no plugins found beside this program; --plugins names a folder with source.wasm, rpm.wasm and check.wasm"
        );
        return Ok(());
    };
    let found = components(&plugins)?;
    ensure!(
        !found.is_empty(),
        "no plugin (*.wasm) in {}",
        plugins.display()
    );
    let mut memory = remembered(folder)?;
    for (name, path) in found {
        let bundled =
            Digest::of(&std::fs::read(&path).with_context(|| path.display().to_string())?);
        let registered = plugin::registered(&name, store).await?;
        let registered = registered.map(|registered| registered.digest);
        match update(bundled, memory.get(name.as_str()).copied(), registered) {
            BundledUpdate::Nothing => {}
            BundledUpdate::Register => {
                plugin::add(&Actor::Line, &name, &path, store, store).await?;
                if registered.is_some() {
                    info!("plugin {name} is updated from {}", path.display());
                }
            }
            BundledUpdate::LeaveTheOther => {
                warn!(
                    "plugin {name} stays as somebody added it; `millrace plugin add {name} {}` takes the one that comes with this program",
                    path.display()
                );
                continue;
            }
        }
        memory.insert(name.to_string(), bundled);
    }
    remember(folder, &memory)
}

/// Components by their names.
fn components(folder: &Path) -> Result<Vec<(PluginName, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)
        .with_context(|| format!("reading the plugins in {}", folder.display()))?
    {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            found.push((
                path.file_stem()
                    .and_then(|stem| stem.to_str())
                    .unwrap_or_default()
                    .parse()?,
                path,
            ));
        }
    }
    found.sort();
    Ok(found)
}

fn remembered(folder: &Folder) -> Result<BTreeMap<String, Digest>> {
    match std::fs::read(folder.join(MEMORY)) {
        Ok(text) => serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: remove it", folder.join(MEMORY).display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| folder.join(MEMORY).display().to_string()),
    }
}

/// Whole or not at all: the line may end while it is written.
fn remember(folder: &Folder, memory: &BTreeMap<String, Digest>) -> Result<()> {
    let new = folder.join(&format!("{MEMORY}.new"));
    std::fs::write(&new, serde_json::to_vec(memory)?)
        .and_then(|()| std::fs::rename(&new, folder.join(MEMORY)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_somebody_added_stays_until_another_is_bundled() {
        let [old, new, own] = ["old", "new", "own"].map(|text| Digest::of(text.as_bytes()));
        assert_eq!(update(old, None, None), BundledUpdate::Register);
        assert_eq!(update(old, Some(old), Some(old)), BundledUpdate::Nothing);
        assert_eq!(
            update(old, Some(old), Some(own)),
            BundledUpdate::LeaveTheOther
        );
        assert_eq!(update(new, Some(old), Some(old)), BundledUpdate::Register);
        assert_eq!(update(new, Some(old), Some(own)), BundledUpdate::Register);
        assert_eq!(
            update(old, None, Some(own)),
            BundledUpdate::LeaveTheOther,
            "it was added before the line's first start"
        );
    }
}
