//! What is in a root, written down exactly: from dnf which packages and of which repository, from the repository which files they were.

use super::error::RootError;
use super::fingerprints::Fingerprints;
use super::index::{Index, IndexError, Primary};
use super::installed::InstalledPackage;
use super::repository_cache::RepositoryCache;
use millrace_core::Digest;
use millrace_core::roots::RootPackage;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Beside a layer: the packages in a root of it and of those below it, as JSON.
const PACKAGES: &str = "packages.json";

/// What rpm keeps keys in, which no repository has.
const KEY: &str = "gpg-pubkey";

/// Knows files of packages by repository and NEVRA.
#[derive(Debug, Clone)]
pub(super) struct PackageFiles {
    indexes: RepositoryCache,
    /// Address and `repomd.xml` of each, by its id.
    repositories: BTreeMap<String, (String, Arc<[u8]>)>,
    /// Where dnf keeps lists.
    cache: PathBuf,
}

impl PackageFiles {
    /// Those of the repositories as they are now; lists that dnf has fetched lie below `cache`.
    pub(super) fn new(indexes: &RepositoryCache, now: &Fingerprints, cache: &Path) -> Self {
        let known = |(id, repomd): (&String, &Arc<[u8]>)| {
            let base = now.bases.get(id)?.first()?.clone();
            Some((id.clone(), (base, repomd.clone())))
        };
        Self {
            indexes: indexes.clone(),
            repositories: now.repomds.iter().filter_map(known).collect(),
            cache: cache.to_owned(),
        }
    }

    /// Packages as they are written down. What was known before stays as it was; `own` are files of the task, by NEVRA.
    pub(super) fn of(
        &self,
        installed: Vec<InstalledPackage>,
        known: &[RootPackage],
        own: &BTreeMap<String, Digest>,
    ) -> Result<Vec<RootPackage>, RootError> {
        let mut packages = Vec::new();
        for InstalledPackage {
            nevra, repository, ..
        } in installed.into_iter().filter(|package| package.name != KEY)
        {
            if let Some(known) = known.iter().find(|known| known.nevra == nevra) {
                packages.push(known.clone());
                continue;
            }
            let found = match self.index(&repository)? {
                Some((base, index)) => index.find(&nevra).map(|(digest, href)| {
                    (
                        digest,
                        Some(format!("{}/{href}", base.trim_end_matches('/'))),
                    )
                }),
                None => own.get(&nevra).map(|digest| (*digest, None)),
            };
            let (digest, url) = found.unzip();
            packages.push(RootPackage {
                nevra,
                repository,
                digest,
                url: url.flatten(),
                later: false,
            });
        }
        packages.sort();
        Ok(packages)
    }

    fn index(&self, repository: &str) -> Result<Option<(&str, Arc<Index>)>, RootError> {
        let Some((base, repomd)) = self.repositories.get(repository) else {
            return Ok(None);
        };
        let unreadable = |error: IndexError| {
            RootError::repository_due_to(format!("repository {repository}, {base}"), error)
        };
        let primary = Primary::of(repomd).map_err(unreadable)?;
        let index = self.indexes.index(&primary.digest, || {
            let packed = primary.read(repository, base, &self.cache)?;
            Index::of(&packed).map_err(unreadable)
        })?;
        Ok(Some((base, index)))
    }
}

/// Packages of a root that somebody else has made, whose own name stands for all that is in it: the repository that they came from there says
/// nothing about where they are now.
pub(super) fn of_image(installed: Vec<InstalledPackage>) -> Vec<RootPackage> {
    let packages = installed.into_iter().filter(|package| package.name != KEY);
    let plain = |nevra| RootPackage {
        nevra,
        repository: String::new(),
        digest: None,
        url: None,
        later: false,
    };
    let mut packages: Vec<RootPackage> = packages.map(|package| plain(package.nevra)).collect();
    packages.sort();
    packages
}

/// Writes down what a new layer has, with those below it.
pub(super) fn write(new: &Path, packages: &[RootPackage]) -> Result<(), RootError> {
    Ok(fs::write(
        new.join(PACKAGES),
        serde_json::to_vec(packages).map_err(std::io::Error::other)?,
    )?)
}

/// What was written down of a layer.
pub(super) fn read(layer: &Path) -> Result<Vec<RootPackage>, RootError> {
    Ok(
        serde_json::from_slice(&fs::read(layer.with_file_name(PACKAGES))?)
            .map_err(std::io::Error::other)?,
    )
}

/// Adds what came later to what was there; what has gone meanwhile stays written down.
pub(super) fn add(known: &mut Vec<RootPackage>, now: Vec<RootPackage>) {
    for package in now {
        if !known.iter().any(|other| {
            other.nevra == package.nevra
                && (other.digest == package.digest || package.digest.is_none())
        }) {
            known.push(RootPackage {
                later: true,
                ..package
            });
        }
    }
    known.sort();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(nevra: &str, bytes: Option<&[u8]>) -> RootPackage {
        let digest = bytes.map(Digest::of);
        RootPackage {
            nevra: nevra.to_owned(),
            repository: String::new(),
            digest,
            url: None,
            later: false,
        }
    }

    #[test]
    fn what_comes_later_is_marked_and_what_goes_stays_known() {
        let mut known = vec![package("bash-1-1.x86_64", Some(b"bash"))];
        add(
            &mut known,
            vec![
                package("bash-1-1.x86_64", None),
                package("zlib-1-1.x86_64", Some(b"zlib")),
            ],
        );
        add(
            &mut known,
            vec![package("zlib-1-1.x86_64", Some(b"another"))],
        );
        let told: Vec<(&str, bool)> = known
            .iter()
            .map(|package| (package.nevra.as_str(), package.later))
            .collect();
        assert_eq!(
            told,
            [
                ("bash-1-1.x86_64", false),
                ("zlib-1-1.x86_64", true),
                ("zlib-1-1.x86_64", true)
            ]
        );
    }
}
