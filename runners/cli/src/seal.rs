//! Who signs repository metadata: the keys of this machine, or the signer of a line in the cloud.

use millrace_core::KeyName;
#[cfg(feature = "cloud")]
use millrace_releaser::lambda::Signer;
use millrace_releaser::{Seal, SealError};
use millrace_signer::{Keys, LocalKeys};

/// Seals repository metadata with the signer's keys, in this process.
pub struct LocalSeal(pub LocalKeys);

impl Seal for LocalSeal {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        millrace_signer::seal(&self.0, key, repomd, signed_s).map_err(SealError::new)
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        self.0
            .public(key)
            .map(String::into_bytes)
            .map_err(SealError::new)
    }
}

/// The signer of the line that a command works on.
pub(crate) enum AnySeal {
    Here(LocalSeal),
    #[cfg(feature = "cloud")]
    Cloud(Signer),
}

impl Seal for AnySeal {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Here(it) => it.seal(key, repomd, signed_s).await,
            #[cfg(feature = "cloud")]
            Self::Cloud(it) => it.seal(key, repomd, signed_s).await,
        }
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Here(it) => it.public_key(key).await,
            #[cfg(feature = "cloud")]
            Self::Cloud(it) => it.public_key(key).await,
        }
    }
}
