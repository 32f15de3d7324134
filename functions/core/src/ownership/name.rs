//! What can belong to a package, and where it is unique.

use crate::{Digest, PlatformName, ProjectName};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest name that can belong to somebody, in bytes: Linux takes no longer path (PATH_MAX), and no name of a package comes near.
pub const NAME_BYTES_MAX: usize = 4096;

/// Longest name that stands in the id of its record as it is, in bytes: DynamoDB takes keys of 1,024 bytes (Amazon DynamoDB Developer
/// Guide, "Quotas"), and target and kind need some of them. A longer one is named by its digest there.
const NAME_IN_ID_BYTES_MAX: usize = 512;

/// Before the names of source packages.
const SOURCE: &str = "source:";
/// Before capabilities.
const CAPABILITY: &str = "capability:";

/// Where names are unique: what is released together. Today that is all that a platform releases. Projects that release elsewhere have
/// names of their own there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReleaseTarget {
    /// Whose target it is.
    pub project: ProjectName,
    pub platform: PlatformName,
}

impl ReleaseTarget {
    /// The project that has all platforms, as long as projects have no targets of their own.
    const DEFAULT_PROJECT: &str = "default";

    /// What a platform releases.
    pub fn of_platform(platform: &PlatformName) -> Self {
        Self {
            project: ProjectName::new(Self::DEFAULT_PROJECT).expect("it is a name"),
            platform: platform.clone(),
        }
    }
}

impl fmt::Display for ReleaseTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.platform)
    }
}

/// What can belong to a package.
///
/// As text, on the command line and in records, it is a path if it begins with `/`, `source:NAME` for the name of a source package,
/// `capability:NAME` for a library or the like, and the name of a package otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OwnedName {
    /// Name of a source package.
    Source(String),
    /// Name of a package that is installed.
    Package(String),
    /// A file's path, in its canonical form.
    Path(String),
    /// What packages of several sources may well provide: `libz.so.1`, `pkgconfig(zlib)`.
    Capability(String),
}

/// A text that names nothing that could belong to a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot belong to a package: name a package (`zlib-devel`), a source package (`source:zlib`), a file (`/usr/bin/zlib`) or a capability (`capability:libz.so.1`)"
)]
pub struct OwnedNameError(String);

impl OwnedName {
    /// The id of its record on a target.
    pub fn id(&self, target: &ReleaseTarget) -> String {
        let (kind, name) = match self {
            Self::Source(name) => ("source", name),
            Self::Package(name) => ("package", name),
            Self::Path(name) => ("path", name),
            Self::Capability(name) => ("capability", name),
        };
        if name.len() <= NAME_IN_ID_BYTES_MAX {
            format!("{target}/{kind}/{name}")
        } else {
            format!(
                "{target}/{kind}-digest/{}",
                Digest::of(name.as_bytes()).hex()
            )
        }
    }

    /// What it is, for people.
    pub fn described(&self) -> String {
        match self {
            Self::Source(name) => format!("the source package name `{name}`"),
            Self::Package(name) => format!("the package name `{name}`"),
            Self::Path(path) => format!("the file {path}"),
            Self::Capability(name) => format!("`{name}`"),
        }
    }
}

impl fmt::Display for OwnedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(name) => write!(f, "{SOURCE}{name}"),
            Self::Package(name) | Self::Path(name) => f.write_str(name),
            Self::Capability(name) => write!(f, "{CAPABILITY}{name}"),
        }
    }
}

impl FromStr for OwnedName {
    type Err = OwnedNameError;
    fn from_str(text: &str) -> Result<Self, OwnedNameError> {
        let wrong = || OwnedNameError(text.chars().take(80).collect());
        let is_plain =
            |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_control() || c == ' ');
        if text.len() > NAME_BYTES_MAX {
            return Err(wrong());
        }
        if text.starts_with('/') {
            return canonical_path(text).map(Self::Path).ok_or_else(wrong);
        }
        let (name, kind): (&str, fn(String) -> Self) = match text {
            _ if text.starts_with(SOURCE) => (&text[SOURCE.len()..], Self::Source),
            _ if text.starts_with(CAPABILITY) => (&text[CAPABILITY.len()..], Self::Capability),
            _ => (text, Self::Package),
        };
        if is_plain(name) {
            Ok(kind(name.to_owned()))
        } else {
            Err(wrong())
        }
    }
}

impl TryFrom<String> for OwnedName {
    type Error = OwnedNameError;
    fn try_from(text: String) -> Result<Self, OwnedNameError> {
        text.parse()
    }
}

impl From<OwnedName> for String {
    fn from(name: OwnedName) -> Self {
        name.to_string()
    }
}

/// Folders that are links in every distribution since the merge of `/usr` (file-hierarchy(7)): a file has one owner under both of its
/// paths.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// A path in the one form that it is compared in: without empty parts and `.`, and below `/usr` where the top level has links. None if it
/// is not absolute, or goes up.
pub fn canonical_path(path: &str) -> Option<String> {
    let parts: Vec<&str> = path
        .strip_prefix('/')?
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let first = parts.first()?;
    if parts.contains(&"..") {
        return None;
    }
    let top = if MERGED.contains(first) { "/usr/" } else { "/" };
    Some(format!("{top}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_from_its_text() {
        for text in [
            "zlib-devel",
            "source:zlib",
            "/usr/bin/patch",
            "capability:libz.so.1",
            "capability:pkgconfig(zlib)",
        ] {
            assert_eq!(text.parse::<OwnedName>().unwrap().to_string(), text);
        }
        for text in ["", "source:", "a b", "a\nb", "/", "/usr/../etc/passwd"] {
            assert!(text.parse::<OwnedName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_has_one_name_under_all_of_its_paths() {
        for path in [
            "/bin/patch",
            "/usr/bin/patch",
            "//usr//bin/./patch",
            "/./bin/patch/",
        ] {
            let canonical = canonical_path(path);
            assert_eq!(canonical.as_deref(), Some("/usr/bin/patch"), "{path}");
        }
        assert_eq!(canonical_path("usr/bin"), None);
        assert_eq!(canonical_path("/binary/x").as_deref(), Some("/binary/x"));
    }

    #[test]
    fn no_two_names_share_a_record() {
        let target = ReleaseTarget::of_platform(&"el-9".parse().unwrap());
        let long = format!("/{}", "a".repeat(600));
        let names = ["zlib", "source:zlib", "/zlib", "capability:zlib", &long];
        let ids = names.map(|name| name.parse::<OwnedName>().unwrap().id(&target));
        assert_eq!(ids[0], "default/el-9/package/zlib");
        assert!(ids.iter().all(|id| id.len() < 1024));
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
    }
}
