//! A push as the line keeps it: what was pushed, by whom, and the exact bytes that a build starts from.

use crate::access::Actor;
use crate::queue::{Priority, Rank};
use crate::sources::SourceFile;
use crate::task::TaskId;
use crate::{
    Arch, Digest, NameError, PackageName, PlatformName, ProjectName, PushId, RunnerName, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A package that the line builds when it is pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name; its repository's last path segment as a rule.
    pub name: PackageName,
    /// Where its commits are fetched from.
    pub clone_url: String,
    /// Where it is built; empty for every platform whose `branches` match.
    #[serde(default)]
    pub platforms: Vec<PlatformName>,
    /// When it was registered.
    pub registered: Timestamp,
    /// The name of its source package, if that is not its own: Name in its spec file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_name: Option<String>,
    /// With which others it shares the runners; none for what its repository's address says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectName>,
    /// How urgent its builds are, if nobody says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whether nothing of it is built or signed for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
}

/// The word of an operator that nothing of a package is built or signed until they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    pub by: Actor,
    pub at: Timestamp,
    /// Why, for the package's people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Suspension {
    /// What somebody is told who wants something of the package.
    pub fn words(&self, package: &PackageName) -> String {
        let reason = if self.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.reason)
        };
        format!(
            "package {package} is suspended by {} since {}{reason}: `millrace package resume {package}` ends that",
            self.by,
            self.at.rfc3339()
        )
    }
}

impl Package {
    /// A package with which nothing is special.
    pub const fn new(
        name: PackageName,
        clone_url: String,
        platforms: Vec<PlatformName>,
        registered: Timestamp,
    ) -> Self {
        Self {
            name,
            clone_url,
            platforms,
            registered,
            source_name: None,
            project: None,
            priority: None,
            suspended: None,
        }
    }
}

/// What is special about the builds of one push. Only the line's operator may ask for it: a forge's webhook has no options.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildOptions {
    /// How urgent it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Only these of the platforms that it is built on; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformName>,
    /// Only these of the platforms' architectures; none means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Arch>,
    /// Macros over those of the platform.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub macros: BTreeMap<String, String>,
    /// To see whether it builds: nothing of it is signed or released.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub scratch: bool,
    /// A [`crate::roots::Lock`]: the roots of its tasks must be exactly those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
    /// Which runner must not do a task, so that another one shows whether it makes the same files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_by: BTreeMap<TaskId, RunnerName>,
    /// For how long the sandbox of a task that fails is held for its author, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_s: Option<u32>,
}

impl BuildOptions {
    /// Whether nothing is special.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// These options for a clone of a build on a platform. The clone has the options of that build except where these name others; a
    /// clone of a scratch build is a scratch build.
    #[must_use]
    pub fn of_clone(self, before: &Self, platform: &PlatformName) -> Self {
        Self {
            priority: self.priority.or(before.priority),
            platforms: if self.platforms.is_empty() {
                vec![platform.clone()]
            } else {
                self.platforms
            },
            architectures: if self.architectures.is_empty() {
                before.architectures.clone()
            } else {
                self.architectures
            },
            macros: before
                .macros
                .clone()
                .into_iter()
                .chain(self.macros)
                .collect(),
            scratch: self.scratch || before.scratch,
            lock: self.lock.or(before.lock),
            not_by: self.not_by,
            // The person who was there for the first may not be there for this one.
            hold_s: self.hold_s,
        }
    }
}

/// A git commit: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits, always whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commit(String);

impl Commit {
    /// Takes a whole commit id.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let hexadecimal = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if hexadecimal && matches!(text.len(), 40 | 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError {
                what: "commit (40 or 64 hexadecimal digits)",
                name: text.chars().take(80).collect(),
            })
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// Whether forges say with it that a branch or tag was deleted.
    pub fn is_null(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'0')
    }
}

impl TryFrom<String> for Commit {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<Commit> for String {
    fn from(commit: Commit) -> Self {
        commit.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a forge announced, before anything was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Follows from forge and delivery.
    pub id: PushId,
    /// The registered package that the repository is of.
    pub package: PackageName,
    /// Where to fetch from.
    pub clone_url: String,
    /// `refs/heads/…` or `refs/tags/…`.
    pub reference: String,
    /// What the reference points at now.
    pub commit: Commit,
    /// Who pushed, as the forge names them.
    pub pusher: String,
    /// When the line heard of it.
    pub received: Timestamp,
    /// What is special about its builds.
    #[serde(
        rename = "wish",
        default,
        skip_serializing_if = "BuildOptions::is_nothing"
    )]
    pub options: BuildOptions,
}

impl Announced {
    /// Where builds of it stand among others, by what its package is registered with.
    pub fn rank(&self, package: Option<&Package>) -> Rank {
        let project = package.and_then(|package| package.project.clone());
        let priority = self
            .options
            .priority
            .or(package.and_then(|package| package.priority));
        Rank {
            project: project.unwrap_or_else(|| ProjectName::of_clone_url(&self.clone_url)),
            priority: priority.unwrap_or_default(),
        }
    }
}

/// A push whose bytes the line holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// What the forge said.
    #[serde(flatten)]
    pub announced: Announced,
    /// The commit's own time (committer), in seconds since 1970; everything made of it carries this time.
    pub committed_s: u64,
    /// The first line of the commit's message.
    pub subject: String,
    /// The commit's tree as a tar archive, the same bytes for the same commit.
    pub tree: Digest,
    /// Size of the archive in bytes.
    pub tree_bytes: u64,
    /// Path of the spec file in the tree.
    pub spec: String,
    /// Files that `sources` or `.<name>.metadata` name, all fetched and checked.
    pub sources: Vec<SourceFile>,
    /// The package's `millrace.toml`, as text; empty if it has none.
    pub config: String,
}

/// What has become of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PushState {
    /// Its bytes are being fetched.
    Fetching,
    /// The line holds its bytes, and is about to plan builds from them.
    Fetched,
    /// Builds were planned from it.
    Planned { builds: Vec<crate::BuildId> },
    /// Nothing can be built from it; the reason is for its author.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// A push and what has become of it, as one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushRecord {
    /// What the forge said.
    pub announced: Announced,
    /// What has become of it.
    pub state: PushState,
}
