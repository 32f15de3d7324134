//! Who signs repository metadata, as the releaser asks for it.

use millrace_core::KeyName;
use std::future::Future;

/// The signature was not made. A retry may help.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the metadata is not signed: {0}")]
pub struct SealError(pub String);

/// Whoever signs repository metadata: the releaser holds no key.
pub trait Seal: Send + Sync {
    /// An armored detached OpenPGP signature of a `repomd.xml`, made as of a time in seconds since 1970.
    fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> impl Future<Output = Result<Vec<u8>, SealError>> + Send;

    /// The key's public certificate, armored.
    fn public_key(&self, key: &KeyName) -> impl Future<Output = Result<Vec<u8>, SealError>> + Send;
}
