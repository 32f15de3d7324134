//! Where the keys lie that a command is about: in the state folder, or in the places that a line in the cloud has for them.

use anyhow::Result;
use millrace_core::KeyName;
use millrace_signer::{KeyError, LocalKeys, PrivateKey};

/// The keys of the line that a command works on.
pub(crate) enum Keyring {
    /// Files of this machine.
    Here(LocalKeys),
    #[cfg(feature = "cloud")]
    Cloud(crate::cloud::keys::Secrets),
}

impl Keyring {
    /// Makes sure that a key may be kept under this name, before anybody makes one. A key is never overwritten.
    pub(crate) async fn takes(&self, key: &KeyName) -> Result<()> {
        match self {
            Self::Here(keys) if keys.list()?.contains(key) => {
                Err(KeyError::Exists(key.clone()).into())
            }
            Self::Here(_) => Ok(()),
            #[cfg(feature = "cloud")]
            Self::Cloud(secrets) => secrets.takes(key).await,
        }
    }

    /// Keeps a key.
    pub(crate) async fn keep(&self, key: &KeyName, private: &PrivateKey) -> Result<()> {
        match self {
            Self::Here(keys) => Ok(keys.keep(key, private)?),
            #[cfg(feature = "cloud")]
            Self::Cloud(secrets) => secrets.keep(key, private).await,
        }
    }

    /// The names of all keys; of those in the cloud with their places there, empty or not.
    pub(crate) fn list(&self) -> Result<Vec<(KeyName, Option<String>)>> {
        match self {
            Self::Here(keys) => Ok(keys.list()?.into_iter().map(|key| (key, None)).collect()),
            #[cfg(feature = "cloud")]
            Self::Cloud(secrets) => {
                use millrace_signer::KeyLocation::{Kms, Secret};
                let all = secrets.places().iter();
                Ok(all
                    .map(|(key, Kms(arn) | Secret(arn))| (key.clone(), Some(arn.clone())))
                    .collect())
            }
        }
    }
}
