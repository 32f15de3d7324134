//! Orders leave nothing to decide: complete, immutable, and named by the digest of what they say.

use crate::push::{Announced, Push};
use crate::release::repository::{RepositoryId, belongs, repositories_of};
use crate::rpm::Rpm;
use crate::task::TaskId;
use crate::{BuildId, Digest, KeyName, PackageName, PlatformName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that shall happen outside the rules, written in the same write as the state that wants it and delivered at least
/// once. Acting on one a second time must have the same result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Effect {
    /// To the listener: fetch what was announced.
    Fetch(Announced),
    /// To the orchestrator: plan builds of what was fetched.
    Plan(Box<Push>),
    /// To waiting runners: a task may be taken.
    Ready {
        build: BuildId,
        task: TaskId,
    },
    Sign(SignOrder),
    Release(ReleaseOrder),
    /// To the fetcher: fetch the names in a platform's repositories.
    FetchNames {
        platform: PlatformName,
    },
    /// To the releaser: give the names of what a platform has released to the packages that released them.
    ClaimReleased {
        platform: PlatformName,
    },
    /// To those who watch: the build has ended.
    Ended {
        build: BuildId,
    },
    /// What a store holds and this program cannot read, in words that say why: mostly a newer program's. Nobody acts on it and nobody
    /// settles it; a store keeps it as it is, until a program that can read it is asked to deliver it again.
    #[serde(skip)]
    Unreadable(String),
}

impl Effect {
    /// Reads one as stores keep it, in JSON.
    pub fn read(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_else(|error| Self::Unreadable(error.to_string()))
    }
}

/// Names an order. The digest of what it says, so that two orders with one id are the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Digest);

impl OrderId {
    fn of(says: &impl Serialize) -> Self {
        // A struct of strings, numbers and lists has a JSON form; the fallback only keeps this total.
        Self(Digest::of(&serde_json::to_vec(says).unwrap_or_default()))
    }
}

impl OrderId {
    /// All of its digits, under which the order is kept.
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex()[..12])
    }
}

/// A file to be signed or released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedFile {
    /// File name, `NEVRA.rpm` without the epoch.
    pub name: String,
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// What its header says.
    pub rpm: Rpm,
}

/// Sign these packages with this key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOrder {
    /// Follows from the rest.
    pub id: OrderId,
    pub build: BuildId,
    pub key: KeyName,
    /// The signatures' time, in seconds since 1970: the commit's, so that signing twice gives the same bytes.
    pub signed_s: u64,
    /// What to sign, each once.
    pub files: Vec<OrderedFile>,
}

impl SignOrder {
    /// An order that says this.
    pub fn new(build: BuildId, key: KeyName, signed_s: u64, files: Vec<OrderedFile>) -> Self {
        // The id is of all the rest, and none of that is the id: whichever stands there meanwhile does not matter.
        let order = Self {
            id: OrderId::of(&"none yet"),
            build,
            key,
            signed_s,
            files,
        };
        Self {
            id: order.name(),
            ..order
        }
    }

    fn name(&self) -> OrderId {
        let Self {
            id: _,
            build,
            key,
            signed_s,
            files,
        } = self;
        OrderId::of(&("sign", build, key, signed_s, files))
    }

    /// Whether its id is that of what it says. What is added to orders later must leave this be if it says nothing new: skip a new
    /// field that has its default.
    pub fn is_as_named(&self) -> bool {
        self.id == self.name()
    }
}

/// What the signer made of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedFile {
    /// The file as ordered.
    pub unsigned: Digest,
    pub signed: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Put these packages into these repositories, all at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseOrder {
    /// Follows from the rest.
    pub id: OrderId,
    pub build: BuildId,
    pub package: PackageName,
    pub platform: PlatformName,
    /// Every repository that the platform must have, so that a first release makes them all.
    pub repositories: Vec<RepositoryId>,
    /// The key that signs the repositories' metadata.
    pub key: KeyName,
    /// The packages' time stamps in the metadata, in seconds since 1970.
    pub released_s: u64,
    /// Which files go where.
    pub placements: Vec<Placement>,
    /// How often this was ordered before, and refused or taken back: an order that was taken back stays so, and this is another one.
    #[serde(default, skip_serializing_if = "is_first")]
    pub retries: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_first(retries: &u32) -> bool {
    *retries == 0
}

/// One signed package, and the repositories that it goes into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub file: OrderedFile,
    pub into: Vec<RepositoryId>,
}

impl ReleaseOrder {
    /// An order that says this; its id follows.
    pub fn new(
        build: BuildId,
        package: PackageName,
        platform: &crate::platform::Platform,
        released_s: u64,
        files: Vec<OrderedFile>,
    ) -> Self {
        let repositories = repositories_of(&platform.architectures);
        let place = |file: OrderedFile| {
            let into = repositories
                .iter()
                .filter(|repository| belongs(&file.rpm, **repository))
                .copied()
                .collect();
            Placement { file, into }
        };
        let placements: Vec<Placement> = files.into_iter().map(place).collect();
        let (platform, key) = (platform.name.clone(), platform.key.clone());
        let order = Self {
            id: OrderId::of(&"none yet"),
            build,
            package,
            platform,
            repositories,
            key,
            released_s,
            placements,
            retries: 0,
        };
        Self {
            id: order.name(),
            ..order
        }
    }

    /// The same order once more, after it was refused or taken back so often. It has another id, but for the first one.
    #[must_use]
    pub fn retried(self, retries: u32) -> Self {
        let order = Self { retries, ..self };
        Self {
            id: order.name(),
            ..order
        }
    }

    fn name(&self) -> OrderId {
        let Self {
            id: _,
            build,
            package,
            platform,
            repositories,
            key,
            released_s,
            placements,
            retries,
        } = self;
        let says = (
            "release",
            build,
            package,
            platform,
            repositories,
            key,
            released_s,
            placements,
        );
        if is_first(retries) {
            OrderId::of(&says)
        } else {
            OrderId::of(&(says, retries))
        }
    }

    /// Whether its id is that of what it says, as for [`SignOrder::is_as_named`].
    pub fn is_as_named(&self) -> bool {
        self.id == self.name()
    }
}
