//! The signer: a `SignOrder` in, signed packages out.
//!
//! It signs the header of a package (rpm's "header-only" signature; the header holds the payload's digest), rewrites nothing
//! but the signature header in front of it, and leaves the payload where it lies. Before that it checks that the build
//! ordered this, that the bytes are those that were ordered, and that header and payload are as they were built; after that it
//! reads back what was written and verifies it. The same order twice comes to the same bytes.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "lambda")]
mod cloud;
mod deliver;
mod file;
mod header;
mod keys;
#[cfg(feature = "lambda")]
mod kms;
#[cfg(feature = "lambda")]
pub mod lambda;
mod place;
mod private;
#[cfg(feature = "lambda")]
mod secrets;
mod sign;
#[cfg(test)]
mod tests;

#[cfg(feature = "lambda")]
pub use cloud::CloudKeys;
pub use deliver::OrderSigner;
pub use header::Unsound;
pub use keys::{Algorithm, KeyError, Keys, LocalKeys, USER_ID_BYTES_MAX};
pub use place::{Place, Places};
pub use private::{KEY_BYTES_MAX, PrivateKey};
pub use sign::seal;

use millrace_core::build::{Event, Refused};
use millrace_core::header::HeaderError;
use millrace_core::order::{SignOrder, SignedFile};
use millrace_core::{BuildId, Digest, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::{
    AdvanceError, BlobError, BlobStore, StateError, StateStore, tell_build, tell_given_up,
};

/// What is wrong with a file. A retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It was cut or replaced.
    #[error("it has {found} bytes, ordered were {expected}")]
    Size {
        /// As ordered.
        expected: u64,
        /// As stored.
        found: u64,
    },
    /// It was changed after its build handed it over.
    #[error("its bytes were altered: sha256 is {found}, ordered was {expected}")]
    Digest {
        /// As ordered, in hexadecimal.
        expected: String,
        /// As stored.
        found: String,
    },
    /// It is another package than its name says.
    #[error("it is {found}, ordered was {expected}")]
    OtherPackage {
        /// NEVRA as ordered.
        expected: String,
        /// NEVRA in its header.
        found: String,
    },
    /// It is no package.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It is not as it was built, or cannot be signed so that the signature means anything.
    #[error(transparent)]
    Unsound(#[from] Unsound),
    /// What was written does not verify; it is not handed on.
    #[error("what was written ({0}) does not verify with the key's certificate")]
    Written(Digest),
}

/// An order that was not carried out; nothing of it counts.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A file is wrong.
    #[error("{file}: {problem}")]
    File {
        /// Which.
        file: String,
        /// What is wrong.
        problem: Problem,
    },
    /// The key cannot be had or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file's bytes cannot be had.
    #[error("{file}: {source}")]
    Blob {
        /// Which.
        file: String,
        /// Why.
        source: BlobError,
    },
    /// There is no such build: whoever sent the order must say why.
    #[error("there is no build {0}, so nothing vouches for the order")]
    UnknownBuild(BuildId),
    /// The build's record cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The build did not take the answer.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
}

impl SignError {
    /// Whether the build's author or a keeper of keys must act, and must be told through the build. Everything else may pass, or
    /// is to be looked at by whoever runs the line.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::Key(error) => !error.is_passing(),
            Self::Blob { source, .. } => !matches!(source, BlobError::Io(_)),
            Self::UnknownBuild(_) | Self::State(_) | Self::Advance(_) => false,
        }
    }
}

/// What has come of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All files are signed, now or before, and the build knows.
    Signed,
    /// It will not be signed, for this reason, and the build knows.
    Refused(String),
    /// The build does not want it, or not any more; nothing was changed.
    NotWanted(String),
}

/// Carries out an order of a build, and tells the build.
///
/// `Err` is passing trouble: deliver the order again. The same order twice comes to the same answer, and the build hears it once.
pub async fn sign<S: StateStore, B: BlobStore, K: Keys>(
    order: &SignOrder,
    keys: &K,
    state: &S,
    blobs: &B,
    now: Timestamp,
) -> Result<Answer, SignError> {
    let (build, _) = load_build(state, &order.build)
        .await?
        .ok_or_else(|| SignError::UnknownBuild(order.build.clone()))?;
    if let Err(reason) = build.vouches_for_signing(order) {
        return Ok(Answer::NotWanted(reason));
    }
    let (event, answer) = match sign_files(order, keys, blobs).await {
        Ok(files) => (
            Event::Signed {
                order: order.id,
                files,
            },
            Answer::Signed,
        ),
        Err(error) if error.is_refusal() => {
            let reason = error.to_string();
            (
                Event::SignRefused {
                    order: order.id,
                    reason: reason.clone(),
                },
                Answer::Refused(reason),
            )
        }
        Err(error) => return Err(error),
    };
    match tell_build(state, &order.build, event, now).await {
        Ok(()) => Ok(answer),
        Err(AdvanceError::Refused(
            refused @ (Refused::WrongStage(_) | Refused::WrongOrder { .. }),
        )) => Ok(Answer::NotWanted(refused.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Tells the build that its order is given up; not where it does not want it any more. An error is passing.
pub async fn give_up(
    order: &SignOrder,
    reason: &str,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<(), AdvanceError> {
    let event = Event::SignRefused {
        order: order.id,
        reason: reason.to_owned(),
    };
    tell_given_up(state, &order.build, event, now).await
}

/// Signs an order's files, in its order, without asking who vouches for it: all of them or none counts.
pub async fn sign_files(
    order: &SignOrder,
    keys: &impl Keys,
    blobs: &impl BlobStore,
) -> Result<Vec<SignedFile>, SignError> {
    let mut signed = Vec::with_capacity(order.files.len());
    for file in &order.files {
        signed.push(file::sign_file(order, file, keys, blobs).await?);
    }
    Ok(signed)
}
