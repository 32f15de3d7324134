//! What repositories have said, kept in memory for the next root: it is made from the same.

use super::error::RootError;
use super::fetch::{TEXT_BYTES_MAX, fetch};
use super::fingerprints::Fingerprints;
use super::index::Index;
use super::recipe::Recipe;
use millrace_core::Digest;
use millrace_core::platform::{RELEASED_REPOSITORY, Repository};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the state of the platform's repositories is taken to be as it was when last asked for. A build must see what the
/// line released a second ago, but not what a distribution published a minute ago.
const PLATFORM_FRESH: Duration = Duration::from_secs(120);

/// Keys of repositories by their URL, and when each was fetched.
type Keys = BTreeMap<String, (Instant, Vec<u8>)>;

/// Lists of packages by the digest of the packed list, in the order in which they were read.
type Indexes = Vec<(Digest, Arc<Index>)>;

/// Lists of packages that are kept in memory: as many as a platform has repositories, for the next root is made from the same.
/// The largest takes some 20 MB.
const INDEXES_MAX: usize = 4;

/// What repositories have said. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct RepositoryCache {
    asked: Arc<Mutex<Vec<(Instant, String, Fingerprints)>>>,
    keys: Arc<Mutex<Keys>>,
    indexes: Arc<Mutex<Indexes>>,
}

impl RepositoryCache {
    /// A list of packages by the digest of the packed list, read unless it is known.
    pub(super) fn index(
        &self,
        digest: &Digest,
        read: impl FnOnce() -> Result<Index, RootError>,
    ) -> Result<Arc<Index>, RootError> {
        let known = |indexes: &Indexes| {
            indexes
                .iter()
                .find(|(of, _)| of == digest)
                .map(|(_, index)| index.clone())
        };
        if let Some(index) = known(&self.indexes.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(index);
        }
        let index = Arc::new(read()?);
        let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
        indexes.push((*digest, index.clone()));
        let too_many = indexes.len().saturating_sub(INDEXES_MAX);
        indexes.drain(..too_many);
        Ok(index)
    }

    /// What the repositories of a recipe are now.
    pub(super) fn fingerprints(&self, recipe: &Recipe) -> Result<Fingerprints, RootError> {
        if !recipe.repositories.iter().any(is_remote) {
            return Fingerprints::of(recipe);
        }
        let name = format!("{recipe:?}");
        if let Some(known) = self.known_fingerprints(&name) {
            let now = Fingerprints::of(&without_remote(recipe))?;
            return Ok(known.with_own(now));
        }
        let found = Fingerprints::of(recipe)?;
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((Instant::now(), name, found.clone()));
        Ok(found)
    }

    fn known_fingerprints(&self, name: &str) -> Option<Fingerprints> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|(at, _, _)| at.elapsed() < PLATFORM_FRESH);
        asked
            .iter()
            .find(|(_, known, _)| *known == name)
            .map(|(_, _, found)| found.clone())
    }

    /// A repository's key; asked for as seldom as what the platform's repositories are.
    pub(super) fn key(&self, url: &str, repository: &str) -> Result<Vec<u8>, RootError> {
        let known = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            keys.retain(|_, (at, _)| at.elapsed() < PLATFORM_FRESH);
            keys.get(url).map(|(_, key)| key.clone())
        };
        if let Some(key) = known {
            return Ok(key);
        }
        let key = fetch(url, repository, TEXT_BYTES_MAX)?;
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(url.to_owned(), (Instant::now(), key.clone()));
        Ok(key)
    }
}

/// Whether it is a distribution's: neither the line's own nor a folder of this machine.
fn is_remote(repository: &Repository) -> bool {
    let url = repository
        .baseurl
        .as_ref()
        .or(repository.mirrorlist.as_ref());
    repository.id != RELEASED_REPOSITORY && url.is_some_and(|url| !url.starts_with("file://"))
}

/// The recipe with the line's own repository and folders of this machine alone.
fn without_remote(recipe: &Recipe) -> Recipe {
    let own = recipe
        .repositories
        .iter()
        .filter(|repository| !is_remote(repository));
    Recipe {
        repositories: own.cloned().collect(),
        ..recipe.clone()
    }
}
