//! Why a release is not carried out.

use crate::generation::manifest::Taken;
use crate::seal::SealError;
use millrace_core::PlatformName;
use millrace_store::{AdvanceError, BlobError, StateError};

/// A release that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It is wrong for good; the build ends with these words.
    #[error("{0}")]
    Refused(String),
    /// The signer's trouble. A retry may help.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The blob store's trouble. A retry may help.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The state store's trouble. A retry may help.
    #[error(transparent)]
    State(#[from] StateError),
    /// The build could not be told. A retry may help: the packages are out, and it will be told so.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    /// The stored generation makes no sense; a person must look.
    #[error("what platform {platform} has released cannot be read: {problem}")]
    Corrupt {
        /// Whose.
        platform: PlatformName,
        /// What is wrong.
        problem: String,
    },
    /// Other releases came first, again and again. A retry may help.
    #[error("other releases of platform {0} came first, again and again")]
    Busy(PlatformName),
    /// There is no such generation to go back to; whoever named it must name another one.
    #[error("platform {platform} has no generation {number}")]
    NoGeneration {
        /// Whose.
        platform: PlatformName,
        /// Which was named.
        number: u64,
    },
}

impl From<Taken> for ReleaseError {
    fn from(taken: Taken) -> Self {
        Self::Refused(taken.to_string())
    }
}
