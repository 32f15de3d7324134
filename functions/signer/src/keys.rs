//! Signing keys: what the signer needs of their keeper, and the keepers that there are.

#[cfg(feature = "lambda")]
pub mod cloud;
#[cfg(feature = "lambda")]
mod kms;
pub mod local;
pub mod location;
pub mod private;
#[cfg(feature = "lambda")]
mod secrets;

use crate::error::KeyError;
use crate::openpgp::armored;
use millrace_core::KeyName;
use sequoia_openpgp::armor::Kind;
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::serialize::Serialize as _;

/// Who keeps keys: files here, a key service in the cloud. Private keys do not leave it.
///
/// Calls may take a while (RSA: 15 ms of computing, or a request over the network); [`crate::sign`] makes them where that
/// holds up nobody.
pub trait Keys: Clone + Send + Sync + 'static {
    /// The certificate of a key, without private parts: one primary key of version 4, RSA or Ed25519, that may sign.
    fn certificate(&self, key: &KeyName) -> Result<Cert, KeyError>;

    /// Signs a SHA-256 digest: RSA as PKCS #1 v1.5 does, Ed25519 with the digest as its message (RFC 9580, 5.2.3). Both give the
    /// same signature every time.
    fn sign_digest(&self, key: &KeyName, digest: &[u8]) -> Result<mpi::Signature, KeyError>;

    /// The certificate in ASCII armor, as `rpmkeys --import` takes it.
    fn public(&self, key: &KeyName) -> Result<String, KeyError> {
        let certificate = self.certificate(key)?;
        Ok(armored(Kind::PublicKey, |to| certificate.serialize(to)))
    }
}

/// What to make a key of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// What every rpm from EL8 on verifies.
    #[default]
    Rsa4096,
    /// A hundred times quicker; rpm from EL9 on verifies it.
    Ed25519,
}
