//! Why a release is not carried out.

use crate::generation::manifest::FileNameTaken;
use crate::seal::SealError;
use millrace_core::header::HeaderError;
use millrace_core::{Digest, PlatformName};
use millrace_store::{AdvanceError, BlobError, SaveError, StateError};
use rpmrepo_metadata::MetadataError;

/// A release that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The order is wrong for good. No retry helps; the build ends with these words.
    #[error(transparent)]
    Refused(#[from] ReleaseRefusal),
    /// The signer's trouble. A retry may help.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The blob store's trouble. A retry may help.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The state store's trouble. A retry may help.
    #[error(transparent)]
    State(#[from] StateError),
    /// What was to be written down was not taken. A retry may help.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The build could not be told. A retry may help: the packages are out, and the build will be told so.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
    /// A stored document makes no sense; a person must look.
    #[error("what platform {platform} has released cannot be read: {problem}")]
    Corrupt {
        /// The platform whose document it is.
        platform: PlatformName,
        /// What is wrong with it.
        #[source]
        problem: Corruption,
    },
    /// Other releases came first, again and again. A retry may help.
    #[error("other releases of platform {0} came first, again and again")]
    Busy(PlatformName),
    /// No build of such a package, or of such a version of it, has released anything that is there; the caller must name another one.
    #[error(
        "platform {platform} has nothing of `{what}`: name a package that `millrace package list` lists, or one version of it as PACKAGE-VERSION"
    )]
    NotReleased {
        platform: PlatformName,
        /// What was named.
        what: String,
    },
    /// There is no such generation to go back to; the caller must name another one.
    #[error("platform {platform} has no generation {number}")]
    NoGeneration {
        /// The platform that was named.
        platform: PlatformName,
        /// The number that was named.
        number: u64,
    },
}

impl ReleaseError {
    /// A stored document of a platform that cannot be used.
    pub fn corrupt(platform: &PlatformName, problem: impl Into<Corruption>) -> Self {
        Self::Corrupt {
            platform: platform.clone(),
            problem: problem.into(),
        }
    }
}

impl From<FileNameTaken> for ReleaseError {
    fn from(taken: FileNameTaken) -> Self {
        Self::Refused(taken.into())
    }
}

/// Why an order can never be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseRefusal {
    /// It was taken back before a releaser began with it.
    #[error("the release was given up before it was carried out: push again")]
    Withdrawn,
    /// A package is for an architecture that the platform does not have.
    #[error("{nevra} is for {arch}, and platform {platform} has no repository for it")]
    NoRepository {
        nevra: String,
        /// The architecture in its header.
        arch: String,
        /// The platform of the order.
        platform: PlatformName,
    },
    /// Another package has the file's place in its repository.
    #[error(transparent)]
    FileNameTaken(#[from] FileNameTaken),
    /// A package is not what was ordered, or cannot be described.
    #[error("{file}: {problem}")]
    Package {
        file: String,
        /// What is wrong with it.
        #[source]
        problem: PackageProblem,
    },
}

/// What is wrong with a package of an order.
#[derive(Debug, thiserror::Error)]
pub enum PackageProblem {
    /// The file's name is not that of the package in it.
    #[error("a package with this header is called {expected}")]
    FileName {
        /// The name that follows from the header.
        expected: String,
    },
    /// Its name has characters that do not stand in a URL.
    #[error("name, version and release may have letters, digits and `._+-~^`, and nothing else")]
    Characters,
    /// It was cut or replaced.
    #[error("it has {found} bytes, and {ordered} were ordered")]
    Size {
        /// Bytes in the store.
        found: u64,
        /// Bytes according to the order.
        ordered: u64,
    },
    /// Its header names another package.
    #[error("it is {found}, ordered was {ordered}")]
    OtherPackage {
        /// NEVRA in its header.
        found: String,
        /// NEVRA in the order.
        ordered: String,
    },
    /// It is no package.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Its header says nothing that metadata could be made of.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// What is wrong with a stored document.
#[derive(Debug, thiserror::Error)]
pub enum Corruption {
    /// It is not of the form that releasers write.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It lacks a package that a generation looks for in it.
    #[error("{blob} says nothing of package {package}")]
    NoMetadata { blob: Digest, package: Digest },
}
