//! Why a push is not fetched: what its author must fix, and what is temporary.

use millrace_core::ownership::TooManyNames;
use millrace_core::platform::PlatformError;
use millrace_core::push::Commit;
use millrace_core::sources::{Algorithm, TreeError};
use millrace_core::{Digest, PushId};
use millrace_store::repository_names::NamesError;
use millrace_store::{BlobError, SaveError, StateError};
use std::time::Duration;

/// What the author of a push must fix. It is kept in the push's record; a retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Pushed over or removed since.
    #[error(
        "commit {commit} is gone: {reference} no longer leads to it; push again if it shall be built"
    )]
    CommitGone {
        commit: Commit,
        /// What pointed at it.
        reference: String,
    },
    /// A tag on something that is no commit.
    #[error("{0} is no commit: tag a commit")]
    NoCommit(Commit),
    /// A repository whose commits have 64 digits.
    #[error("commit {0} is of a SHA-256 repository; the line fetches from SHA-1 repositories")]
    Sha256Repository(Commit),
    /// git would not take it either.
    #[error("`{0}` is no reference")]
    Reference(String),
    /// The repository is not public.
    #[error(
        "{0} cannot be read without a password: make it readable, or register the package with a URL that is"
    )]
    Private(String),
    /// A repository in the repository.
    #[error(
        "`{0}` is a submodule; the line builds from one repository: put the files in it, or name them in `sources`"
    )]
    Submodule(String),
    /// A path that would be unpacked elsewhere, or that no log could show.
    #[error("the repository has the path `{0}`, which cannot be unpacked everywhere: rename it")]
    Path(String),
    /// Two things in one place.
    #[error(
        "`{0}` is in the way of another file of the repository or its sources: keep one of the two"
    )]
    Collision(String),
    /// More than the line takes.
    #[error(
        "the repository's {what} has more than {max}: keep large files in a lookaside store and name them in `sources`"
    )]
    TooLarge {
        what: &'static str,
        /// The bound and its unit.
        max: String,
    },
    /// Binary where text should be.
    #[error("{0} is no UTF-8 text")]
    NotText(String),
    /// No spec, two specs, a line of `sources` that says nothing.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// `millrace.toml` cannot be used.
    #[error(transparent)]
    Config(#[from] PlatformError),
    /// A commit from the future.
    #[error(
        "the commit's date, {committed_s} seconds after 1970, is past 2106, which is as far as RPM can count: \
        set the clock right, then `git commit --amend` and push again"
    )]
    Date {
        /// The committer's time, in seconds since 1970.
        committed_s: i64,
    },
    /// A source that is named by its SHA-1 digest, and may be another file than the one that its author saw.
    #[error(
        "{url} is made so that another file has the same SHA-1 digest: \
        name `{name}` by SHA-512 (`sha512sum`) once you know that it is the right one"
    )]
    Collided { name: String, url: String },
    /// A file with the SHA-1 digest of a file that the line took first.
    #[error(
        "`{name}` is named by SHA-1 {digest}, under which the line knows {known} and found {found}: name it by SHA-512 (`sha512sum`)"
    )]
    Pinned {
        name: String,
        /// SHA-1, as the package names it.
        digest: String,
        /// The file that was there first.
        known: Digest,
        /// The file that is there now.
        found: Digest,
    },
    /// Nobody has a source.
    #[error("no lookaside store has `{name}` ({algorithm} {digest}){looked}; put it there with `millrace package upload {name}`",
        algorithm = algorithm.as_str(), looked = looked_at(looked))]
    NoSource {
        name: String,
        algorithm: Algorithm,
        /// As the package names it.
        digest: String,
        /// Where it is not.
        looked: Vec<String>,
    },
    /// Somebody has another file under a source's name.
    #[error("{url} is not the `{name}` that the package names: expected {algorithm} {expected}, found {found}", algorithm = algorithm.as_str())]
    WrongDigest {
        name: String,
        /// Where the other file is.
        url: String,
        algorithm: Algorithm,
        /// As the package names it.
        expected: String,
        found: String,
    },
    /// A source larger than the line takes.
    #[error(
        "{url} has more than {bytes_max} bytes, which is the most that the line takes of one source"
    )]
    LargeSource { url: String, bytes_max: u64 },
    /// Sources that are too much together.
    #[error(
        "the package's sources have more than {bytes_max} bytes together, which is the most that the line takes of one push"
    )]
    LargeSources { bytes_max: u64 },
    /// Hundreds of sources with long names, or a long `millrace.toml`.
    #[error(
        "sources and millrace.toml together take {bytes} bytes to describe; the line takes {bytes_max}"
    )]
    ManyWords { bytes: usize, bytes_max: usize },
}

fn looked_at(urls: &[String]) -> String {
    if urls.is_empty() {
        String::new()
    } else {
        format!(", looked at {}", urls.join(", "))
    }
}

/// A temporary failure; a retry may help.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no record of the push, so there is nowhere to say why. A retry does not help.
    #[error("there is no push {0}")]
    Unknown(PushId),
    /// The forge does not answer, or not with a commit.
    #[error("{url}: {source}")]
    Git { url: String, source: git2::Error },
    /// A lookaside store does not give the file.
    #[error("{url}: {source}")]
    Lookaside { url: String, source: DownloadError },
    /// It takes longer than one try may. What was fetched stays, so that the next try goes on from there.
    #[error("not all was fetched within {} s, and the next try goes on from what was: {last}", time.as_secs())]
    Slow {
        time: Duration,
        /// What was cut off.
        #[source]
        last: Box<FetchError>,
    },
    /// The scratch folder failed.
    #[error("the scratch folder: {0}")]
    Scratch(#[from] std::io::Error),
    /// A file was not the same when it was read again.
    #[error("a file changed while it was read: {0} became {1}")]
    Changed(Digest, Digest),
    /// The blob store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The state store failed.
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error("stopped while fetching")]
    Stopped,
}

impl From<StateError> for FetchError {
    fn from(error: StateError) -> Self {
        Self::Save(SaveError::State(error))
    }
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The push has used up its time.
    #[error("the time is over")]
    TimeOver,
    /// The server answered, but not with the file.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The server did not answer.
    #[error(transparent)]
    Http(#[from] ureq::Error),
    /// It broke off, or a file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Why the names in a platform's repositories are not known. A retry may help; if it does not, the platform's keeper must look.
#[derive(Debug, thiserror::Error)]
pub enum NamesFetchError {
    /// Nothing comes from there.
    #[error("{url} cannot be read")]
    Download { url: String, source: DownloadError },
    #[error("there is nothing at {0}")]
    Absent(String),
    /// A list of mirrors without any.
    #[error("the mirror list {0} is empty")]
    NoMirrors(String),
    /// What lies there is no repository's.
    #[error("{url} makes no sense: {problem}")]
    Senseless { url: String, problem: String },
    /// No distribution has so many.
    #[error(transparent)]
    TooMany(#[from] TooManyNames),
    /// The scratch folder's trouble.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The stores' trouble.
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(transparent)]
    Keep(#[from] NamesError),
}

impl From<StateError> for NamesFetchError {
    fn from(error: StateError) -> Self {
        Self::Save(error.into())
    }
}

/// Why fetching ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Its author must act.
    Refused(Refusal),
    Temporary(FetchError),
}

macro_rules! stop {
    ($variant:ident: $($from:ty),*) => {
        $(impl From<$from> for Stop {
            fn from(error: $from) -> Self {
                Self::$variant(error.into())
            }
        })*
    };
}

stop!(Refused: Refusal, TreeError, PlatformError);
stop!(Temporary: FetchError, std::io::Error, BlobError, SaveError, StateError);
