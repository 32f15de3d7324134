//! What lies in the folder of a layer, and beside it.

use super::store::Layer;
use crate::sandbox::Overlay;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Beside a base layer: the names of the packages in it, a line each.
const NAMES: &str = "names";

/// Beside a base layer whose own rpm must be handed every change.
const CARRIED: &str = "carried";

/// The folders of layers, as an overlay takes them.
pub(super) fn paths(layers: &[Layer]) -> Vec<PathBuf> {
    layers.iter().map(|layer| layer.path.clone()).collect()
}

/// A new layer over others.
pub(super) fn over(new: &Path, lowers: &[PathBuf]) -> Overlay {
    Overlay {
        lowers: lowers.to_vec(),
        upper: new.join("layer"),
        scratch: new.join("scratch"),
    }
}

/// A new layer on nothing.
pub(super) fn from_nothing(new: &Path) -> io::Result<Overlay> {
    let empty = new.join("empty");
    fs::create_dir_all(&empty)?;
    Ok(over(new, &[empty]))
}

/// Writes down the names of the packages in a new base layer.
pub(super) fn write_names(new: &Path, names: &[String]) -> io::Result<()> {
    fs::write(new.join(NAMES), names.join("\n") + "\n")
}

/// The names of the packages in a base layer.
pub(super) fn read_names(layer: &Layer) -> io::Result<BTreeSet<String>> {
    let text = fs::read_to_string(layer.path.with_file_name(NAMES))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Marks a new base layer whose own rpm must be handed every change.
pub(super) fn mark_carried(new: &Path) -> io::Result<()> {
    fs::write(new.join(CARRIED), "")
}

/// Whether the rpm of a root of these layers must be handed every change.
pub(super) fn carries(layers: &[Layer]) -> bool {
    layers
        .iter()
        .any(|layer| layer.path.with_file_name(CARRIED).exists())
}

/// Gives the sandbox's ordinary user a name, as mock does, if the root has none for it.
pub(super) fn add_user(root: &Path) -> io::Result<()> {
    let lines = [
        (
            "etc/passwd",
            "mockbuild:x:1000:1000::/builddir:/bin/bash\n",
            ":1000:",
        ),
        ("etc/group", "mockbuild:x:1000:\n", ":1000:"),
    ];
    for (file, line, id) in lines {
        let path = root.join(file);
        // A link that a package has put there leads anywhere on this machine.
        if path.is_symlink() || root.join("etc").is_symlink() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        if !text.contains(id) {
            fs::create_dir_all(root.join("etc"))?;
            fs::write(path, text + line)?;
        }
    }
    Ok(())
}
