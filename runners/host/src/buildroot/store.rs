//! Layers on the disk, each made once: in a new folder, which gets its name when it is whole, and loses it when nobody has used it for long.

use super::error::RootError;
use crate::sandbox;
use millrace_core::Digest;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What all layers together may take, in bytes: a base has about 1 GB, the dependencies of one package some 100 MB, so that those of some
/// hundred packages stay.
const LAYERS_BYTES_MAX: u64 = 60 << 30;

/// How long a layer, or a package that dnf has downloaded, stays without being used: packages that are built every other week find theirs.
const UNUSED_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Marks a folder that is whole, and has the layer's size in bytes. A folder without it is thrown away. When it was last used is when
/// this was changed last.
const WHOLE: &str = "whole";

/// Marks a question that was answered with "nothing to change".
const NOTHING: &str = "nothing";

/// Layers below a folder.
#[derive(Debug, Clone)]
pub(super) struct LayerStore {
    folder: PathBuf,
}

/// A layer that stays as long as this is held.
#[derive(Debug)]
pub(super) struct Layer {
    /// What is in it.
    pub(super) path: PathBuf,
    _lock: File,
}

impl LayerStore {
    /// Opens a folder for root alone: it has programs in it that make their user root.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("layers"))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let store = Self {
            folder: folder.to_owned(),
        };
        store.sweep(LAYERS_BYTES_MAX, SystemTime::now());
        Ok(store)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where files lie that a lock names; those that nobody has used for long go.
    pub(super) fn locked(&self) -> io::Result<PathBuf> {
        let folder = self.folder.join("dnf/locked");
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Names what a layer is made from.
    pub(super) fn key_of(from: &impl Serialize) -> String {
        Digest::of(&serde_json::to_vec(from).unwrap_or_default()).hex()[..32].to_owned()
    }

    /// The layer of a key: made by `make` in a new folder, in `layer` below it, unless it is there. `make` answers whether there is
    /// anything in it. Others who want the same wait.
    pub(super) fn once(
        &self,
        key: &str,
        make: impl FnOnce(&Path) -> Result<bool, RootError>,
    ) -> Result<Option<Layer>, RootError> {
        let place = self.layers().join(key);
        let mut make = Some(make);
        loop {
            let lock = self.lock_file(key)?;
            lock.lock_shared()?;
            if is_lock_of(&lock, &self.lock_path(key))
                && let Some(answer) = answered(&place)
            {
                touch(&place)?;
                return Ok(answer.map(|path| Layer { path, _lock: lock }));
            }
            drop(lock);
            let lock = self.lock_file(key)?;
            lock.lock()?;
            if !is_lock_of(&lock, &self.lock_path(key)) || answered(&place).is_some() {
                continue;
            }
            let Some(make) = make.take() else {
                return Err(RootError::Io(io::Error::other(format!(
                    "the layer {key} was removed as soon as it was made"
                ))));
            };
            self.make(&place, make)?;
            self.sweep(LAYERS_BYTES_MAX, SystemTime::now());
        }
    }

    fn make(
        &self,
        place: &Path,
        make: impl FnOnce(&Path) -> Result<bool, RootError>,
    ) -> Result<(), RootError> {
        let new = place.with_extension("new");
        for left_over in [&new, place] {
            remove(left_over)?;
        }
        fs::create_dir(&new)?;
        let made = make(&new);
        if !matches!(made, Ok(true)) {
            remove(&new)?;
        }
        if made? {
            // Sandboxes leave it to us when what they have written reaches the disk: before it counts as whole.
            nix::unistd::syncfs(&File::open(&new)?).map_err(io::Error::from)?;
            let whole = new.join(WHOLE);
            fs::write(&whole, sandbox::used(&new).to_string())?;
            File::open(&whole)?.sync_all()?;
        } else {
            fs::create_dir(&new)?;
            File::create(new.join(NOTHING))?.sync_all()?;
        }
        Ok(fs::rename(&new, place)?)
    }

    /// Marks layers as used just now, the lower ones last: what lies on another is given up before it.
    pub(super) fn used(layers: &[Layer]) -> io::Result<()> {
        layers
            .iter()
            .filter_map(|layer| layer.path.parent())
            .try_for_each(touch)
    }

    /// Removes what nobody has used for long, and of the rest what was used least lately until it is small enough; never what is in use.
    /// What cannot be removed now is tried the next time.
    fn sweep(&self, bytes_max: u64, now: SystemTime) {
        let mut all = self.known();
        all.sort_by_key(|(used, _, _)| *used);
        let mut bytes: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
        for (used, size, key) in all {
            let old = now.duration_since(used).is_ok_and(|age| age > UNUSED_MAX);
            if (old || bytes > bytes_max) && self.give_up(&key).unwrap_or(false) {
                bytes -= size;
            }
        }
        remove_old_packages(&self.folder.join("dnf"), now);
    }

    /// Of every layer: when it was used last, its bytes, and its key. One that was never finished was never used.
    fn known(&self) -> Vec<(SystemTime, u64, String)> {
        let names = fs::read_dir(self.layers())
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let known = |key: String| {
            let mark = [WHOLE, NOTHING].map(|mark| self.layers().join(&key).join(mark));
            let mark = mark.iter().find(|mark| mark.exists());
            let used = mark
                .and_then(|mark| fs::metadata(mark).ok()?.modified().ok())
                .unwrap_or(SystemTime::UNIX_EPOCH);
            let size = mark.and_then(|mark| fs::read_to_string(mark).ok()?.parse().ok());
            let size = size.unwrap_or_else(|| sandbox::used(&self.layers().join(&key)));
            (used, size, key)
        };
        names
            .filter(|name| !name.ends_with(".lock"))
            .map(known)
            .collect()
    }

    /// Removes a layer, if nobody uses it or makes it just now.
    fn give_up(&self, name: &str) -> io::Result<bool> {
        let key = name.split('.').next().unwrap_or(name);
        let lock = self.lock_file(key)?;
        if lock.try_lock().is_err() || !is_lock_of(&lock, &self.lock_path(key)) {
            return Ok(false);
        }
        let place = self.layers().join(name);
        let gone = self.layers().join(format!("{key}.gone"));
        remove(&gone)?;
        fs::rename(&place, &gone)?;
        remove(&gone)?;
        fs::remove_file(self.lock_path(key))?;
        Ok(true)
    }

    fn layers(&self) -> PathBuf {
        self.folder.join("layers")
    }

    fn lock_path(&self, key: &str) -> PathBuf {
        self.layers().join(format!("{key}.lock"))
    }

    fn lock_file(&self, key: &str) -> io::Result<File> {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.lock_path(key))
    }
}

/// Whether a lock is the one that others find by its path: a process that gives a layer up removes the file.
fn is_lock_of(lock: &File, path: &Path) -> bool {
    let same = |own: fs::Metadata, there: fs::Metadata| {
        own.ino() == there.ino() && own.dev() == there.dev()
    };
    lock.metadata()
        .is_ok_and(|own| fs::metadata(path).is_ok_and(|there| same(own, there)))
}

/// What is known of a key: nothing, that there is nothing to change, or a layer.
fn answered(place: &Path) -> Option<Option<PathBuf>> {
    if place.join(NOTHING).exists() {
        return Some(None);
    }
    place
        .join(WHOLE)
        .exists()
        .then(|| Some(place.join("layer")))
}

/// Marks a layer as used just now.
fn touch(place: &Path) -> io::Result<()> {
    let mark = [WHOLE, NOTHING]
        .map(|mark| place.join(mark))
        .into_iter()
        .find(|mark| mark.exists());
    mark.map_or(Ok(()), |mark| {
        File::options()
            .write(true)
            .open(mark)?
            .set_modified(SystemTime::now())
    })
}

/// Removes packages that dnf downloaded long ago. What is still needed is downloaded again.
fn remove_old_packages(folder: &Path, now: SystemTime) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (Ok(found), path) = (entry.metadata(), entry.path()) else {
            continue;
        };
        let made =
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(found.ctime()).unwrap_or(0));
        if found.is_dir() {
            remove_old_packages(&path, now);
        } else if path.extension().is_some_and(|kind| kind == "rpm")
            && now.duration_since(made).is_ok_and(|age| age > UNUSED_MAX)
        {
            let _ = fs::remove_file(&path);
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    crate::machine::removal::remove_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER_BYTES: usize = 1 << 20;

    fn layer(store: &LayerStore, key: &str) -> Layer {
        let make = |new: &Path| {
            fs::create_dir(new.join("layer"))?;
            fs::write(new.join("layer/file"), vec![1; LAYER_BYTES])?;
            Ok(true)
        };
        store.once(key, make).unwrap().unwrap()
    }

    fn set_used(layer: &Layer, ago: Duration) {
        let mark = File::options()
            .write(true)
            .open(layer.path.with_file_name(WHOLE))
            .unwrap();
        mark.set_modified(SystemTime::now() - ago).unwrap();
    }

    #[test]
    fn the_folder_is_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        LayerStore::open(folder.path()).unwrap();
        assert_eq!(
            fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn what_was_used_longest_ago_goes_unless_it_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayerStore::open(folder.path()).unwrap();
        let held = layer(&store, "held");
        let old = layer(&store, "old");
        let new = layer(&store, "new");
        for (layer, hours) in [(&held, 3), (&old, 2), (&new, 1)] {
            set_used(layer, Duration::from_secs(hours * 3600));
        }
        let paths = [&held, &old, &new].map(|layer| layer.path.clone());
        drop((old, new));
        // Two of three fit; the oldest is in use.
        store.sweep(5 * LAYER_BYTES as u64 / 2, SystemTime::now());
        assert_eq!(
            paths.each_ref().map(|path| path.exists()),
            [true, false, true]
        );
        assert!(layer(&store, "old").path.exists(), "it can be made again");
    }

    #[test]
    fn what_nobody_used_for_long_goes_when_a_runner_starts() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayerStore::open(folder.path()).unwrap();
        let old = layer(&store, "old");
        let new = layer(&store, "new");
        set_used(&old, UNUSED_MAX + Duration::from_secs(60));
        fs::create_dir_all(folder.path().join("layers/torn.new/layer")).unwrap();
        let paths = [&old, &new].map(|layer| layer.path.clone());
        drop((old, new));
        LayerStore::open(folder.path()).unwrap();
        assert_eq!(paths.each_ref().map(|path| path.exists()), [false, true]);
        assert!(
            !folder.path().join("layers/torn.new").exists(),
            "half a layer stayed"
        );
        assert!(
            !folder.path().join("layers/old.lock").exists(),
            "its lock stayed"
        );
    }

    #[test]
    fn a_package_that_was_downloaded_long_ago_goes() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().join("dnf/x86_64/baseos-1/packages");
        fs::create_dir_all(&packages).unwrap();
        for file in ["a.rpm", "repomd.xml"] {
            fs::write(packages.join(file), "x").unwrap();
        }
        remove_old_packages(&folder.path().join("dnf"), SystemTime::now());
        assert!(packages.join("a.rpm").exists());
        remove_old_packages(
            &folder.path().join("dnf"),
            SystemTime::now() + UNUSED_MAX + Duration::from_secs(60),
        );
        assert!(!packages.join("a.rpm").exists() && packages.join("repomd.xml").exists());
    }
}
