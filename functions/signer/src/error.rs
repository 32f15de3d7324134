//! Why an order is not carried out, a file not signed, a key not used.

use crate::header::UnsoundPackage;
use millrace_core::header::HeaderError;
use millrace_core::{BuildId, Digest, KeyName, PlatformName};
use millrace_store::repository_names::NamesError;
use millrace_store::{AdvanceError, BlobError, SaveError, StateError};
use std::io;
use std::path::PathBuf;

/// Longest user id, in bytes: an OpenPGP implementation must take no more, and people read it.
pub const USER_ID_BYTES_MAX: usize = 200;

/// What is wrong with a file. A retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It was cut or replaced.
    #[error("it has {found} bytes, ordered were {expected}")]
    Size { expected: u64, found: u64 },
    /// It was changed after its build handed it over.
    #[error("its bytes were altered: sha256 is {found}, ordered was {expected}")]
    Digest {
        /// As ordered, in hexadecimal.
        expected: String,
        found: String,
    },
    /// It is another package than its name says.
    #[error("it is {found}, ordered was {expected}")]
    OtherPackage {
        expected: String,
        /// NEVRA in its header.
        found: String,
    },
    /// It is no package.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It is not as it was built, or cannot be signed so that the signature means anything.
    #[error(transparent)]
    UnsoundPackage(#[from] UnsoundPackage),
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
        file: String,
        #[source]
        problem: FileProblem,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file's bytes cannot be read.
    #[error("{file}: {source}")]
    Blob { file: String, source: BlobError },
    /// The package is suspended, or no package of the line any more; what helps is in it.
    #[error("{0}")]
    Package(String),
    /// Architectures made different packages for all of them.
    #[error(
        "{file} differs between the architectures that made it ({differences}): build it so that they are equal, without what belongs to one \
         machine or moment; or let the platform say with `noarch_from` whose is released"
    )]
    Noarch {
        file: String,
        /// Paths of files, or what else.
        differences: String,
    },
    /// Names that are somebody else's, and what helps; or too many.
    #[error("{0}")]
    Names(String),
    /// Passing: names that were released before they belonged to anybody get their owners.
    #[error(
        "the names that platform {0} has released are given to their packages, once after an upgrade; signing waits for that"
    )]
    NoInventory(PlatformName),
    /// What names the platform's repositories have is not known. A retry helps once it is.
    #[error(transparent)]
    RepositoryNames(#[from] NamesError),
    /// What is written of names was not taken.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// There is no such build: who sent the order must be found out.
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
    /// Whether the build's author must act, who is told by the build's end. Everything else is waited for: a key that is missing comes
    /// back, a store answers again; the build says meanwhile what it waits for.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::File { .. } | Self::Noarch { .. } | Self::Package(_) | Self::Names(_) => true,
            Self::Key(_)
            | Self::Blob { .. }
            | Self::NoInventory(_)
            | Self::RepositoryNames(_)
            | Self::Save(_)
            | Self::UnknownBuild(_)
            | Self::State(_)
            | Self::Advance(_) => false,
        }
    }
}

/// Why a key cannot be used; no message says anything of what a private key consists of.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Somebody must make it, or bring it.
    #[error(
        "there is no key `{0}`: make it with `millrace key create {0}`, or bring one with `millrace key import {0} FILE`"
    )]
    Missing(KeyName),
    /// A line in the cloud has a place for each of its keys, and none for this one.
    #[error(
        "the line has no place for a key `{0}`: the template's `KeyName` says which key it has; name that one in the platform"
    )]
    Unplaced(KeyName),
    /// Its place in the cloud is a secret, and nobody has put it there.
    #[error(
        "there is no key in the secret of `{0}` yet: bring one with `millrace key import {0} FILE`, or make one with `millrace key create {0}`"
    )]
    Empty(KeyName),
    /// A key is never overwritten: what it signed could not be told from what another one signed.
    #[error("there is a key `{0}` already; take another name")]
    Exists(KeyName),
    /// Others have read it, or may have.
    #[error("{} can be read by others (mode {mode:03o}): make it yours alone with `chmod {want:03o}`, or better, make a new key", path.display())]
    Open {
        /// The file or folder.
        path: PathBuf,
        mode: u32,
        /// Which it should have.
        want: u32,
    },
    /// Not what a certificate can carry.
    #[error(
        "a user id is a name and an address, for example `Example Linux <security@example.org>`, of 1 to {USER_ID_BYTES_MAX} bytes in one line"
    )]
    UserId,
    /// What lies there is no key that rpm's signatures can be made with.
    #[error("the key `{key}` cannot be used: {problem}")]
    Unfit { key: KeyName, problem: &'static str },
    /// Passing: the disk, the network. A retry may help.
    #[error("the key `{key}` cannot be reached: {source}")]
    Unavailable { key: KeyName, source: io::Error },
}
