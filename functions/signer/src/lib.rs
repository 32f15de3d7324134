//! The signer: a `SignOrder` in, signed packages out.
//!
//! It signs what has names of its package alone: names, files and replaced packages, as it reads them from the headers.
//!
//! It signs the header of a package (rpm's "header-only" signature; the header holds the payload's digest), rewrites nothing
//! but the signature header in front of it, and leaves the payload where it lies. Before that it checks that the build
//! ordered this, that the bytes are those that were ordered, and that header and payload are as they were built. After that it reads back
//! what was written and verifies it. The same order twice gives the same bytes.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod deliver;
mod error;
mod file;
mod header;
mod keys;
#[cfg(feature = "lambda")]
pub mod lambda;
mod noarch;
mod openpgp;
mod order;
mod ownership;
mod signature;
#[cfg(test)]
mod tests;

pub use deliver::OrderSigner;
pub use error::{FileProblem, KeyError, SignError, USER_ID_BYTES_MAX};
pub use header::UnsoundPackage;
#[cfg(feature = "lambda")]
pub use keys::cloud::CloudKeys;
pub use keys::local::LocalKeys;
pub use keys::location::{KeyLocation, KeyLocationError, KeyLocations};
pub use keys::private::{KEY_BYTES_MAX, PrivateKey};
pub use keys::{Algorithm, Keys};
pub use order::{SignOutcome, give_up, sign, sign_files};
pub use signature::seal;
