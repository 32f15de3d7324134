//! Who signs repository metadata, as the releaser asks for it.

use millrace_core::KeyName;
use std::error::Error;
use std::future::Future;

/// The signature was not made. A retry may help.
#[derive(Debug, thiserror::Error)]
#[error("the metadata is not signed: {0}")]
pub struct SealError(#[source] Box<dyn Error + Send + Sync>);

impl SealError {
    /// What kept the signer from signing.
    pub fn new(problem: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(problem.into())
    }
}

/// Signs repository metadata: the releaser holds no key.
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
