//! Where things lie: the workspace, the cache folder, the build folder.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The folders that xtask works with.
#[derive(Debug, Clone)]
pub struct Folders {
    pub workspace: PathBuf,
    /// What is kept from one run to the next: `$XDG_CACHE_HOME/millrace` or `~/.cache/millrace`.
    pub cache: PathBuf,
    /// What cargo builds into: `$CARGO_TARGET_DIR`, or `target` in the cache folder, which outlives a clone.
    pub target: PathBuf,
}

impl Folders {
    /// Reads the environment.
    pub fn find() -> Result<Self> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let manifest = variable("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let workspace = manifest
            .ancestors()
            .nth(2)
            .context("xtask lies two folders below the workspace")?
            .to_owned();
        let home = || variable("HOME").map(|home| home.join(".cache"));
        let cache = variable("XDG_CACHE_HOME")
            .or_else(home)
            .context("neither XDG_CACHE_HOME nor HOME is set")?
            .join("millrace");
        let target = variable("CARGO_TARGET_DIR").unwrap_or_else(|| cache.join("target"));
        let target = std::path::absolute(target)?;
        Ok(Self {
            workspace,
            cache,
            target,
        })
    }

    /// The plugins' components, as `millrace up --plugins` takes them.
    pub fn plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// The `millrace` command.
    pub fn millrace(&self) -> PathBuf {
        self.target.join("debug/millrace")
    }

    /// A copy of this program, to be run again as root: a build may replace the one that runs.
    pub fn own_copy(&self) -> Result<PathBuf> {
        let copy = self.cache.join("programs/xtask");
        let new = copy.with_extension(std::process::id().to_string());
        let above = copy.parent().context("a file lies in a folder")?;
        std::fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))?;
        std::fs::copy("/proc/self/exe", &new).context("copy this program")?;
        std::fs::rename(&new, &copy).with_context(|| format!("write {}", copy.display()))?;
        Ok(copy)
    }

    /// Logs of what xtask runs.
    pub fn log(&self, name: &str) -> PathBuf {
        self.cache.join("logs").join(format!("{name}.log"))
    }
}

/// Writes a file and the folders above it.
pub fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    let above = path.parent().context("a file lies in a folder")?;
    std::fs::create_dir_all(above).with_context(|| format!("make {}", above.display()))?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Makes a folder that is empty.
pub fn fresh(folder: &Path) -> Result<()> {
    remove(folder)?;
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

/// Removes a folder and what is in it, if there is one.
pub fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
