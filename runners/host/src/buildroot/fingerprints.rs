//! A fingerprint of each repository of a platform, as it is now.

use super::error::RootError;
use super::fetch::{TEXT_BYTES_MAX, fetch};
use super::recipe::Recipe;
use super::released::Released;
use millrace_core::Digest;
use millrace_core::platform::{RELEASED_REPOSITORY, Repository};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Mirrors of a list that are tried, the first ones first: one may be down and one behind, and lists are sorted by distance.
const MIRRORS_MAX: usize = 5;

/// What repositories are now; if platform and released are equal, dnf would find the same packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fingerprints {
    /// Id, address and metadata of each of the platform's own, in order.
    pub(super) platform: Vec<(String, String, Digest)>,
    /// What the line has released; none if it has no repository.
    pub(super) released: Option<Released>,
    /// Where each was found by its id, and after it what else its list of mirrors names.
    pub(super) bases: BTreeMap<String, Vec<String>>,
    /// What each said there of what it has, by its id.
    pub(super) repomds: BTreeMap<String, Arc<[u8]>>,
}

impl Fingerprints {
    pub(super) fn of(recipe: &Recipe) -> Result<Self, RootError> {
        let mut found = Self::default();
        for repository in &recipe.repositories {
            let RepositoryState {
                address,
                bases,
                repomd,
            } = now(recipe, repository)?;
            found
                .repomds
                .insert(repository.id.clone(), repomd.as_slice().into());
            if repository.id == RELEASED_REPOSITORY {
                found.released = Some(Released::new(bases[0].clone(), repomd));
            } else {
                found
                    .platform
                    .push((repository.id.clone(), address, Digest::of(&repomd)));
            }
            found.bases.insert(repository.id.clone(), bases);
        }
        Ok(found)
    }

    /// These, with what the line's own repository and folders of this machine are now.
    pub(super) fn with_own(mut self, now: Self) -> Self {
        self.bases.extend(now.bases);
        self.repomds.extend(now.repomds);
        self.released = now.released;
        self
    }
}

/// A repository as it answered.
struct RepositoryState {
    /// Where it says that it is: its own URL, or its list of mirrors.
    address: String,
    /// Where it was found, and then other mirrors.
    bases: Vec<String>,
    repomd: Vec<u8>,
}

fn now(recipe: &Recipe, repository: &Repository) -> Result<RepositoryState, RootError> {
    let (address, mut bases) = match (&repository.baseurl, &repository.mirrorlist) {
        (Some(url), _) => (recipe.filled(url), vec![recipe.filled(url)]),
        (None, Some(list)) => {
            let list = recipe.filled(list);
            let text = fetch(&list, &repository.id, TEXT_BYTES_MAX)?;
            let mirrors = mirrors(recipe, &String::from_utf8_lossy(&text));
            if mirrors.is_empty() {
                return Err(RootError::repository(format!(
                    "{}: the mirror list {list} is empty",
                    repository.id
                )));
            }
            (list, mirrors)
        }
        (None, None) => {
            return Err(RootError::Refused(format!(
                "repository `{}` has no address",
                repository.id
            )));
        }
    };
    let mut problems = Vec::new();
    for (number, base) in bases.iter().enumerate() {
        match fetch(
            &format!("{}/repodata/repomd.xml", base.trim_end_matches('/')),
            &repository.id,
            TEXT_BYTES_MAX,
        ) {
            Ok(repomd) => {
                bases[..=number].rotate_right(1);
                return Ok(RepositoryState {
                    address,
                    bases,
                    repomd,
                });
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    Err(RootError::repository(problems.join("\n")))
}

/// The first mirrors that a list names. Lists are written for dnf: they have its variables in them, and comments.
fn mirrors(recipe: &Recipe, list: &str) -> Vec<String> {
    let lines = list
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && line.contains("://"));
    lines
        .take(MIRRORS_MAX)
        .map(|line| recipe.filled(line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::serve_files;
    use millrace_core::Arch;
    use millrace_core::platform::Buildroot;

    fn recipe(server: &str) -> Recipe {
        let list = Repository {
            id: "baseos".to_owned(),
            baseurl: None,
            mirrorlist: Some(format!("{server}/mirrorlist/$releasever/baseos")),
            gpgkey: None,
            priority: 99,
        };
        Recipe {
            arch: Arch::X86_64,
            releasever: "9".to_owned(),
            module_platform: None,
            repositories: vec![list],
            buildroot: Buildroot::default(),
            locked: None,
        }
    }

    #[test]
    fn variables_of_a_mirror_list_are_filled_in() {
        let server = serve_files(&[
            (
                "/mirrorlist/9/baseos",
                "# see http://example.org/\n\n@/almalinux/$releasever/BaseOS/$basearch/os\n",
            ),
            (
                "/almalinux/9/BaseOS/x86_64/os/repodata/repomd.xml",
                "<repomd/>",
            ),
        ]);
        let found = Fingerprints::of(&recipe(&server)).unwrap();
        assert_eq!(found.platform[0].2, Digest::of(b"<repomd/>"));
        assert_eq!(
            found.bases["baseos"],
            [format!("{server}/almalinux/9/BaseOS/x86_64/os")]
        );
    }

    #[test]
    fn the_mirror_that_answers_is_the_first_that_dnf_asks() {
        let server = serve_files(&[
            (
                "/mirrorlist/9/baseos",
                "http://127.0.0.1:1/down\n@/behind\n@/good\n@/next\n",
            ),
            ("/good/repodata/repomd.xml", "<repomd/>"),
            ("/next/repodata/repomd.xml", "<another/>"),
        ]);
        let found = Fingerprints::of(&recipe(&server)).unwrap();
        assert_eq!(found.platform[0].2, Digest::of(b"<repomd/>"));
        let expected = [
            format!("{server}/good"),
            "http://127.0.0.1:1/down".to_owned(),
            format!("{server}/behind"),
            format!("{server}/next"),
        ];
        assert_eq!(found.bases["baseos"], expected);
    }

    #[test]
    fn where_no_mirror_answers_each_that_was_tried_is_named() {
        let server = serve_files(&[("/mirrorlist/9/baseos", "@/1\n@/2\n@/3\n@/4\n@/5\n@/6\n")]);
        let problem = Fingerprints::of(&recipe(&server)).unwrap_err();
        assert!(matches!(problem, RootError::Repository(_)));
        let problem = problem.to_string();
        assert!(
            problem.contains("/1/repodata")
                && problem.contains("/5/repodata")
                && !problem.contains("/6/"),
            "{problem}"
        );
    }
}
