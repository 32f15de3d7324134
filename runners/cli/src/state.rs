//! The state folder: where a line keeps everything, and who may read it.

#[cfg(feature = "cloud")]
use crate::cloud::Cloud;
use crate::keyring::Keyring;
use crate::seal::{AnySeal, LocalSeal};
use crate::store::Store;
use anyhow::{Context, Result, bail};
use millrace_core::Timestamp;
use millrace_signer::LocalKeys;
use millrace_store::local::LocalStore;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The folder of one line.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// The line that commands work on instead.
    #[cfg(feature = "cloud")]
    cloud: Option<Cloud>,
}

impl Folder {
    /// Takes the folder that was named, or this user's own; makes it if it does not exist.
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
        Ok(Self {
            path,
            #[cfg(feature = "cloud")]
            cloud: None,
        })
    }

    /// The same folder, for commands that work on a line in the cloud.
    #[cfg(feature = "cloud")]
    pub(crate) fn for_cloud(self, cloud: Cloud) -> Self {
        Self {
            cloud: Some(cloud).filter(|cloud| cloud.table.is_some()),
            ..self
        }
    }

    /// Makes sure that what is about to be done here is not meant for a line in the cloud.
    pub(crate) fn is_meant(&self, what: &str) -> Result<()> {
        #[cfg(feature = "cloud")]
        if let Some(table) = self.cloud.as_ref().and_then(|cloud| cloud.table.as_ref()) {
            bail!(
                "{what}, and --table or MILLRACE_TABLE names the line in the cloud `{table}`: leave that out"
            );
        }
        let _ = what;
        Ok(())
    }

    /// Something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made if it does not exist.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Its own stores.
    pub fn local(&self) -> Result<LocalStore> {
        self.is_meant("this works on the state folder of this machine")?;
        Ok(LocalStore::open(&self.path)?)
    }

    /// The stores of the line that commands work on.
    pub(crate) async fn store(&self) -> Result<Store> {
        #[cfg(feature = "cloud")]
        if let Some(cloud) = &self.cloud
            && let Some(store) = cloud.store().await
        {
            return Ok(store);
        }
        self.local().map(Store::Here)
    }

    /// Empties the queue of dead letters of a line in the cloud: they are delivered again.
    pub(crate) async fn forget_dead_letters(&self) -> Result<()> {
        #[cfg(feature = "cloud")]
        if let Some(cloud) = &self.cloud {
            return cloud.forget_dead_letters().await;
        }
        Ok(())
    }

    /// Its keys.
    pub(crate) fn keys(&self) -> Result<LocalKeys> {
        self.is_meant("this works on the keys of this machine")?;
        Ok(LocalKeys::open(&self.folder("keys")?)?)
    }

    /// The keys of the line that commands work on.
    pub(crate) async fn keyring(&self) -> Result<Keyring> {
        #[cfg(feature = "cloud")]
        if let Some(cloud) = &self.cloud {
            return cloud.keys().await.map(Keyring::Cloud);
        }
        Ok(Keyring::Here(self.keys()?))
    }

    /// Who signs for the line that commands work on.
    pub(crate) async fn seal(&self) -> Result<AnySeal> {
        #[cfg(feature = "cloud")]
        if let Some(cloud) = &self.cloud
            && let Some(signer) = cloud.signer().await?
        {
            return Ok(AnySeal::Cloud(signer));
        }
        Ok(AnySeal::Here(LocalSeal(self.keys()?)))
    }

    /// The secret that forges sign their webhooks with; made at the first call.
    pub fn webhook_secret(&self) -> Result<String> {
        let path = self.webhook_secret_path();
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => bail!(
                "{} is empty: write the webhook secret into it, or remove it and a new one is made",
                path.display()
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
        let secret: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(format!("{secret}\n").as_bytes())
            .and_then(|()| file.sync_all())?;
        Ok(secret)
    }

    /// The file with the webhook secret.
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
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    Ok(bytes)
}

/// The line's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
