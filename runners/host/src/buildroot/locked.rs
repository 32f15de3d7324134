//! Files of packages that a lock names: each fetched from where it was, and taken only where it is the same byte by byte.

use super::error::RootError;
use super::fetch::{ExpectedFile, keep, open};
use super::recipe::Recipe;
use super::session::RootSession;
use super::store::LayerStore;
use millrace_core::Digest;
use millrace_core::roots::{Root, RootPackage};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Largest package that is fetched, in bytes: the largest of a distribution are games and firmware of 2 to 3 GB.
const PACKAGE_BYTES_MAX: u64 = 8 << 30;

/// Files of packages by the repository whose key they must be signed with.
pub(super) type SignedFiles = BTreeMap<String, Vec<PathBuf>>;

/// The files of packages of a lock, fetched if they are not here yet. They are given up with those that dnf has downloaded.
pub(super) fn fetch<'a>(
    store: &LayerStore,
    recipe: &Recipe,
    packages: impl Iterator<Item = &'a RootPackage>,
    session: &mut RootSession<'_>,
) -> Result<SignedFiles, RootError> {
    let folder = store.locked()?;
    let mut files = SignedFiles::new();
    for package in packages {
        let nevra = &package.nevra;
        let repository = &package.repository;
        let (Some(digest), Some(url)) = (&package.digest, &package.url) else {
            return Err(RootError::Refused(format!(
                "the lock does not say which file {nevra} was"
            )));
        };
        if !recipe
            .repositories
            .iter()
            .any(|known| known.id == *repository)
        {
            return Err(RootError::Refused(format!(
                "the lock has {nevra} from the repository `{repository}`, which the platform does not have: nothing says whose \
                 signature it must have"
            )));
        }
        let path = folder.join(format!("{}.rpm", digest.hex()));
        have(&path, digest, url, package, session)?;
        files.entry(repository.clone()).or_default().push(path);
    }
    Ok(files)
}

/// Makes sure that a file is here.
fn have(
    path: &Path,
    digest: &Digest,
    url: &str,
    package: &RootPackage,
    session: &mut RootSession<'_>,
) -> Result<(), RootError> {
    if let Ok(file) = File::options().write(true).open(path) {
        // Used just now, so that it is not among what nobody has used for long.
        return Ok(file.set_modified(SystemTime::now())?);
    }
    session.say(&format!("fetching {url}"));
    let new = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    let what = format!("{}: {url}", package.nevra);
    let expected = ExpectedFile {
        what: &what,
        named_by: "the lock",
        digest,
        bytes_max: PACKAGE_BYTES_MAX,
    };
    keep(open(url)?, &mut new.as_file(), &expected, session.cancelled)?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// What of a lock's root its repositories must bring when it is made, and what later.
pub(super) fn of_repositories(root: &Root, later: bool) -> impl Iterator<Item = &RootPackage> {
    root.packages
        .iter()
        .filter(move |package| package.later == later && !package.repository.is_empty())
}
