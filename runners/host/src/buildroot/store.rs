//! Layers on the disk, each made once: in a new folder, which gets its name when it is whole.

use super::RootError;
use super::recipe::{Fingerprints, Recipe};
use millrace_core::Digest;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the state of the platform's repositories is taken to be as it was when last asked for: a build must see what the
/// line released a second ago, but not what a distribution published a minute ago.
const PLATFORM_FRESH: Duration = Duration::from_secs(120);

/// Marks a folder that is whole. One without it is thrown away.
const WHOLE: &str = "whole";

/// Marks a question that was answered with "nothing to change".
const NOTHING: &str = "nothing";

/// Layers below a folder.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
    asked: Arc<Mutex<Vec<(Instant, String, Fingerprints)>>>,
}

impl Store {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("layers"))?;
        Ok(Self { folder: folder.to_owned(), asked: Arc::default() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names what a layer is made from.
    pub(super) fn key(from: &impl Serialize) -> String {
        Digest::of(&serde_json::to_vec(from).unwrap_or_default()).hex()[..32].to_owned()
    }

    /// What the repositories of a recipe are now.
    pub(super) fn fingerprints(&self, recipe: &Recipe) -> Result<Fingerprints, RootError> {
        let remote = |repository: &millrace_core::platform::Repository| {
            let url = repository.baseurl.as_ref().or(repository.mirrorlist.as_ref());
            repository.id != millrace_core::platform::RELEASED_REPOSITORY && url.is_some_and(|url| !url.starts_with("file://"))
        };
        if !recipe.repositories.iter().any(remote) {
            return Fingerprints::of(recipe);
        }
        let own = Recipe {
            repositories: recipe.repositories.iter().filter(|repository| !remote(repository)).cloned().collect(),
            ..recipe.clone()
        };
        let name = format!("{recipe:?}");
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|(at, _, _)| at.elapsed() < PLATFORM_FRESH);
        if let Some((_, _, found)) = asked.iter().find(|(_, known, _)| *known == name) {
            return Ok(Fingerprints { released: Fingerprints::of(&own)?.released, ..found.clone() });
        }
        let found = Fingerprints::of(recipe)?;
        asked.push((Instant::now(), name, found.clone()));
        Ok(found)
    }

    /// The layer of a key: made by `make` in a new folder, in `layer` below it, unless it is there. `make` answers whether there is
    /// anything in it. Others who want the same wait.
    pub(super) fn once(
        &self,
        key: &str,
        make: impl FnOnce(&Path) -> Result<bool, RootError>,
    ) -> Result<Option<PathBuf>, RootError> {
        let place = self.folder.join("layers").join(key);
        if let Some(answer) = answered(&place) {
            return Ok(answer);
        }
        let lock = File::create(self.folder.join("layers").join(format!("{key}.lock")))?;
        lock.lock()?;
        if let Some(answer) = answered(&place) {
            return Ok(answer);
        }
        let new = self.folder.join("layers").join(format!("{key}.new"));
        for left_over in [&new, &place] {
            remove(left_over)?;
        }
        fs::create_dir(&new)?;
        let made = make(&new);
        if !matches!(made, Ok(true)) {
            remove(&new)?;
        }
        if made? {
            File::create(new.join(WHOLE))?.sync_all()?;
        } else {
            fs::create_dir(&new)?;
            File::create(new.join(NOTHING))?.sync_all()?;
        }
        fs::rename(&new, &place)?;
        Ok(answered(&place).flatten())
    }
}

/// What is known of a key: nothing, that there is nothing to change, or a layer.
fn answered(place: &Path) -> Option<Option<PathBuf>> {
    if place.join(NOTHING).exists() {
        return Some(None);
    }
    place.join(WHOLE).exists().then(|| Some(place.join("layer")))
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
