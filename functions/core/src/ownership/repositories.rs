//! The names that a platform's repositories have, and the source packages that they were built from.

use super::name::OwnedName;
use crate::Digest;
use crate::platform::Platform;
use std::collections::{BTreeMap, BTreeSet};

/// Most names that a platform's repositories may have, files in folders of programs among them: Fedora with all of its updates has some
/// 400,000.
pub const REPOSITORY_NAMES_MAX: usize = 2_000_000;

/// Largest text of names, in bytes: those of [`REPOSITORY_NAMES_MAX`], at some 60 bytes each.
pub const REPOSITORY_NAMES_BYTES_MAX: u64 = 128 << 20;

/// Names of packages, and files as the lists of packages name them (those in folders of programs and in `/etc`), each with the source
/// packages that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryNames(BTreeMap<String, BTreeSet<String>>);

/// The repositories of a platform have more names than the line keeps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("they have more than {REPOSITORY_NAMES_MAX} names of packages and files")]
pub struct TooManyNames;

impl RepositoryNames {
    /// Adds a name that comes from a source package. What no line of text can hold is no name.
    pub fn add(&mut self, name: &OwnedName, source: &str) -> Result<(), TooManyNames> {
        let name = name.to_string();
        let is_plain = |text: &str| !text.is_empty() && !text.contains(['\t', '\n']);
        if !is_plain(&name) || !is_plain(source) {
            return Ok(());
        }
        if let Some(sources) = self.0.get_mut(&name) {
            sources.insert(source.to_owned());
            return Ok(());
        }
        if self.0.len() >= REPOSITORY_NAMES_MAX {
            return Err(TooManyNames);
        }
        self.0.insert(name, BTreeSet::from([source.to_owned()]));
        Ok(())
    }

    /// The source packages that a name comes from.
    pub fn sources(&self, name: &OwnedName) -> Option<&BTreeSet<String>> {
        self.0.get(&name.to_string())
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a text, a name a line with its source packages behind it, with tabs between.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, sources) in &self.0 {
            text.push_str(name);
            for source in sources {
                text.push('\t');
                text.push_str(source);
            }
            text.push('\n');
        }
        text
    }

    /// Reads those of such a text that are wanted: a distribution has some hundred thousand, and nobody wants all of them at once.
    pub fn parse(text: &str, is_wanted: impl Fn(&str) -> bool) -> Self {
        let line = |line: &str| {
            let (name, sources) = line.split_once('\t')?;
            let sources = || sources.split('\t').map(str::to_owned).collect();
            is_wanted(name).then(|| (name.to_owned(), sources()))
        };
        Self(text.lines().filter_map(line).collect())
    }
}

/// What the names of a platform's repositories depend on: as long as it is the same, so are the repositories.
pub fn repositories_digest(platform: &Platform) -> Digest {
    let Platform {
        architectures,
        releasever,
        repositories,
        ..
    } = platform;
    // Lists and texts have a JSON form; the fallback only keeps this total.
    let says = serde_json::to_vec(&(architectures, releasever, repositories));
    Digest::of(&says.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_from_their_text() {
        let mut names = RepositoryNames::default();
        for (name, source) in [
            ("zlib", "zlib"),
            ("zlib", "zlib-ng"),
            ("/usr/bin/patch", "patch"),
            ("bad", "a\tb"),
            ("bad", ""),
        ] {
            names.add(&name.parse().unwrap(), source).unwrap();
        }
        let text = names.to_text();
        assert_eq!(text, "/usr/bin/patch\tpatch\nzlib\tzlib\tzlib-ng\n");
        assert_eq!(RepositoryNames::parse(&text, |_| true), names);
        let only = RepositoryNames::parse(&text, |name| name == "zlib");
        assert_eq!(only.to_text(), "zlib\tzlib\tzlib-ng\n");
        let sources = names.sources(&OwnedName::Path("/usr/bin/patch".to_owned()));
        assert!(sources.is_some_and(|sources| sources.contains("patch")));
    }
}
