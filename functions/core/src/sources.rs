//! Which files a package's repository is made of: its spec, and the sources that it names by digest.

use serde::{Deserialize, Serialize};

/// Name under which every task is given the commit's tree, as a tar archive; no source may have it.
pub const TREE_ARTIFACT: &str = "tree.tar";

/// Most sources a package may name: the largest packages of Fedora name a few hundred.
pub const SOURCES_MAX: usize = 1000;

/// A source file that the line holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Path where the build finds it, relative to the tree's root (`zlib-1.3.1.tar.xz`, `SOURCES/zlib-1.3.1.tar.xz`).
    pub path: String,
    pub digest: crate::Digest,
    /// In bytes.
    pub size: u64,
}

/// The digest algorithms that `sources` files use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Sha512,
    Sha256,
    Sha1,
}

impl Algorithm {
    /// Hexadecimal digits of a digest.
    pub const fn digits(self) -> usize {
        match self {
            Self::Sha512 => 128,
            Self::Sha256 => 64,
            Self::Sha1 => 40,
        }
    }

    /// In the spelling of lookaside URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha512 => "sha512",
            Self::Sha256 => "sha256",
            Self::Sha1 => "sha1",
        }
    }
}

/// A source as its package names it: which bytes are wanted, and where the build wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSource {
    /// Path relative to the tree's root.
    pub path: String,
    pub algorithm: Algorithm,
    /// Lower-case hexadecimal digits.
    pub digest: String,
}

impl WantedSource {
    /// The file name, without folders.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// What is wrong with a tree; its author must act, a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// There is nothing to build.
    #[error("no spec file: put `{package}.spec` at the top of the repository or in SPECS/")]
    NoSpec { package: String },
    /// It is not clear which to build.
    #[error("{} spec files ({}): keep one, or name it in millrace.toml as `spec = \"…\"`", found.len(), found.join(", "))]
    ManySpecs { found: Vec<String> },
    /// `millrace.toml` names what is not there.
    #[error("millrace.toml names the spec file `{0}`, which is not in the repository")]
    SpecNamed(String),
    /// A line of `sources` or `.<name>.metadata` that says nothing.
    #[error("{file}, line {line}: expected {expected}, found `{found}`")]
    Line {
        file: String,
        /// Counted from 1.
        line: usize,
        /// The form it should have.
        expected: &'static str,
        /// What stands there, cut if it is long.
        found: String,
    },
    /// A name that would land outside the tree.
    #[error("{file}, line {line}: `{found}` is no plain file name")]
    Path {
        file: String,
        /// Counted from 1.
        line: usize,
        found: String,
    },
    /// A name that the commit's own tree has among what a build is given.
    #[error(
        "{file}, line {line}: builds are given the commit's tree as `{TREE_ARTIFACT}`: give the source another name"
    )]
    Reserved {
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// More than the line takes.
    #[error("{file} names {found} sources; the line takes {SOURCES_MAX}")]
    TooMany { file: String, found: usize },
}

/// Finds the spec file among the paths of a tree: at the top or in `SPECS/`, exactly one unless `named` says which.
pub fn find_spec<'a>(
    package: &str,
    named: Option<&str>,
    paths: impl Iterator<Item = &'a str> + Clone,
) -> Result<String, TreeError> {
    if let Some(named) = named {
        let mut paths = paths;
        return match paths.find(|path| *path == named) {
            Some(path) => Ok(path.to_owned()),
            None => Err(TreeError::SpecNamed(named.to_owned())),
        };
    }
    let place = |path: &&str| {
        let name = path.strip_prefix("SPECS/").unwrap_or(path);
        name.ends_with(".spec") && !name.contains('/')
    };
    let mut found: Vec<String> = paths.filter(place).map(str::to_owned).collect();
    found.sort();
    match found.len() {
        0 => Err(TreeError::NoSpec {
            package: package.to_owned(),
        }),
        1 => Ok(found.remove(0)),
        _ => Err(TreeError::ManySpecs { found }),
    }
}

/// Reads a `sources` file as Fedora keeps it: `SHA512 (name) = digits` a line.
///
/// The older form `md5digits  name` is refused: MD5 does not vouch for anything.
pub fn parse_sources(file: &str, text: &str) -> Result<Vec<WantedSource>, TreeError> {
    const EXPECTED: &str = "`SHA512 (name) = digest`";
    parse_lines(file, text, EXPECTED, |line| {
        let (algorithm, rest) = line.split_once(" (")?;
        let (name, digest) = rest.rsplit_once(") = ")?;
        let algorithm = match algorithm {
            "SHA512" => Algorithm::Sha512,
            "SHA256" => Algorithm::Sha256,
            "SHA1" => Algorithm::Sha1,
            _ => return None,
        };
        Some((algorithm, digest, name))
    })
}

/// Reads a `.<name>.metadata` file as CentOS and AlmaLinux keep it: `digits path` a line; the algorithm follows from the number
/// of digits.
pub fn parse_metadata(file: &str, text: &str) -> Result<Vec<WantedSource>, TreeError> {
    const EXPECTED: &str = "`digest path` with a SHA-1, SHA-256 or SHA-512 digest";
    parse_lines(file, text, EXPECTED, |line| {
        let (digest, path) = line.split_once(char::is_whitespace)?;
        let all = [Algorithm::Sha512, Algorithm::Sha256, Algorithm::Sha1];
        let algorithm = all
            .into_iter()
            .find(|algorithm| algorithm.digits() == digest.len())?;
        Some((algorithm, digest, path.trim()))
    })
}

fn parse_lines<'a>(
    file: &str,
    text: &'a str,
    expected: &'static str,
    read: impl Fn(&'a str) -> Option<(Algorithm, &'a str, &'a str)>,
) -> Result<Vec<WantedSource>, TreeError> {
    let mut wanted = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || TreeError::Line {
            file: file.to_owned(),
            line: number + 1,
            expected,
            found: line.chars().take(80).collect(),
        };
        let (algorithm, digest, path) = read(line).ok_or_else(wrong)?;
        let digest = digest.to_ascii_lowercase();
        if digest.len() != algorithm.digits()
            || !digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(wrong());
        }
        if !is_inside(path) {
            return Err(TreeError::Path {
                file: file.to_owned(),
                line: number + 1,
                found: path.to_owned(),
            });
        }
        if path == TREE_ARTIFACT {
            return Err(TreeError::Reserved {
                file: file.to_owned(),
                line: number + 1,
            });
        }
        wanted.push(WantedSource {
            path: path.to_owned(),
            algorithm,
            digest,
        });
    }
    if wanted.len() > SOURCES_MAX {
        return Err(TreeError::TooMany {
            file: file.to_owned(),
            found: wanted.len(),
        });
    }
    Ok(wanted)
}

/// Whether a relative path stays below the folder that it starts from, and has no surprises for a shell or a log.
pub fn is_inside(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    !path.is_empty()
        && path.len() <= 4096
        && !path.chars().any(char::is_control)
        && path.split('/').all(plain)
}
