//! The state folder: where everything of the line lies, and who may read it.

use anyhow::{Context, Result, bail};
use millrace_core::Timestamp;
use millrace_store::local::LocalStore;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The folder of one line.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Takes the folder that was named, or this user's own; makes it where it is not there.
    pub fn open(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => std::path::absolute(path).context("the state folder")?,
            None => default_folder()?,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making the state folder {}", path.display()))?;
        Ok(Self(path))
    }

    /// Something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A folder in it, made where it is not there.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Its stores.
    pub fn store(&self) -> Result<LocalStore> {
        Ok(LocalStore::open(&self.0)?)
    }

    /// The secret that forges sign their webhooks with; made at the first call.
    pub fn webhook_secret(&self) -> Result<String> {
        let path = self.webhook_secret_path();
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => bail!("{} is empty: write the webhook secret into it, or remove it and a new one is made", path.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
        let secret: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(format!("{secret}\n").as_bytes()).and_then(|()| file.sync_all())?;
        Ok(secret)
    }

    /// Where the webhook secret lies.
    pub fn webhook_secret_path(&self) -> PathBuf {
        self.join("webhook-secret")
    }
}

/// `/var/lib/millrace` for root, or what the XDG base directory specification gives a user.
fn default_folder() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok("/var/lib/millrace".into());
    }
    if let Some(home) = std::env::var_os("XDG_STATE_HOME") {
        return Ok(Path::new(&home).join("millrace"));
    }
    let home = std::env::var_os("HOME").context("no home folder: name one with --state")?;
    Ok(Path::new(&home).join(".local/state/millrace"))
}

/// 256 bits from the kernel.
pub(crate) fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("reading /dev/urandom")?;
    Ok(bytes)
}

/// The line's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
