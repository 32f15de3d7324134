//! Which repository belongs to which package: one record for each, written together, so that neither is taken twice.

use millrace_core::PackageName;
use millrace_core::push::Package;
use millrace_store::records::{get, write};
use millrace_store::{
    Commit, Expect, IndexEntry, SaveError, StateError, StateStore, Table, Version, Write,
};

/// Longest clone URL, in bytes: it is part of a record's key, and DynamoDB takes keys of at most 2048 bytes.
pub const URL_BYTES_MAX: usize = 1024;

/// Times that a registration is tried anew because somebody else wrote first; nobody registers one package in a loop.
const CONFLICTS_MAX: usize = 10;

/// A package that was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Its name belongs to another repository.
    #[error(
        "{name} is already the package of {existing}: give {asked} another name with `millrace package add NAME {asked}`"
    )]
    NameTaken {
        /// The name.
        name: PackageName,
        /// The repository that has it.
        existing: String,
        /// The repository that wants it.
        asked: String,
    },
    /// Its repository belongs to another package.
    #[error("{clone_url} is already the repository of package {package}")]
    RepositoryTaken {
        /// The repository.
        clone_url: String,
        /// Whose it is.
        package: PackageName,
    },
    /// Nothing can be fetched from there.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The store's trouble; a retry may help.
    #[error(transparent)]
    Save(#[from] SaveError),
}

impl From<StateError> for RegisterError {
    fn from(error: StateError) -> Self {
        Self::Save(SaveError::State(error))
    }
}

/// A clone URL that the line does not take; its author must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Of a kind that the line does not fetch from.
    #[error(
        "`{0}` is no clone URL for the line: it fetches from https://…, http://…, file:///… and absolute paths"
    )]
    Kind(String),
    /// It would show a password to everybody who sees a page or a log.
    #[error(
        "the clone URL on {0} has a password in it, which pages and logs would show: make the repository readable without one"
    )]
    Password(String),
    /// Longer than the line takes.
    #[error("a clone URL of {0} bytes; the line takes {URL_BYTES_MAX}")]
    Long(usize),
}

/// Key of the record that says which package a repository belongs to, and index of that package; the same for every way to
/// write the repository's URL.
pub fn repository_index(clone_url: &str) -> Result<String, UrlError> {
    if clone_url.len() > URL_BYTES_MAX {
        return Err(UrlError::Long(clone_url.len()));
    }
    let place = match clone_url.split_once("://") {
        Some(("https", rest)) => on_host(rest, ":443")?,
        Some(("http", rest)) => on_host(rest, ":80")?,
        Some(("file", path)) if path.starts_with('/') => path.to_owned(),
        None if clone_url.starts_with('/') => clone_url.to_owned(),
        _ => return Err(UrlError::Kind(without_password(clone_url))),
    };
    let place = place.trim_end_matches('/');
    Ok(format!(
        "repository/{}",
        place.strip_suffix(".git").unwrap_or(place)
    ))
}

fn on_host(rest: &str, default_port: &str) -> Result<String, UrlError> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !user.is_empty() {
        return Err(UrlError::Password(host.to_owned()));
    }
    if host.is_empty() || path.is_empty() {
        return Err(UrlError::Kind(rest.to_owned()));
    }
    let host = host.to_ascii_lowercase();
    Ok(format!(
        "{}/{path}",
        host.strip_suffix(default_port).unwrap_or(&host)
    ))
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((user, rest))
            if user
                .rsplit('/')
                .next()
                .is_some_and(|user| user.contains(':')) =>
        {
            format!("…@{rest}")
        }
        _ => url.to_owned(),
    }
}

/// Finds the package that a repository belongs to.
pub async fn of_repository(
    state: &impl StateStore,
    clone_url: &str,
) -> Result<Option<Package>, RegisterError> {
    Ok(owner(state, &repository_index(clone_url)?).await?.0)
}

/// The package that has a repository, and whether a record of the repository's own says so; those that were registered before
/// there were such records are found by their index entries alone.
async fn owner(
    state: &impl StateStore,
    index: &str,
) -> Result<(Option<Package>, bool), StateError> {
    let claimed: Option<(PackageName, Version)> = get(state, Table::Setting, index).await?;
    let (name, is_claimed) = match claimed {
        Some((name, _)) => (name.to_string(), true),
        None => match state
            .index_entries(index, None, 1)
            .await?
            .into_iter()
            .next()
        {
            Some(hit) => (hit.key.id, false),
            None => return Ok((None, false)),
        },
    };
    Ok((
        get(state, Table::Package, &name)
            .await?
            .map(|(package, _)| package),
        is_claimed,
    ))
}

/// Registers a package, or changes the platforms of one that has the same name and repository. Answers what is registered
/// now; doing it twice does no harm. The first registration's time stays.
pub async fn register(state: &impl StateStore, package: Package) -> Result<Package, RegisterError> {
    settle(state, package, Again::Changes).await
}

/// Registers a package, or leaves one as it is that has the same name and repository. Answers what is registered now.
pub(crate) async fn register_new(
    state: &impl StateStore,
    package: Package,
) -> Result<Package, RegisterError> {
    settle(state, package, Again::Leaves).await
}

/// What registering a package does that is registered already.
#[derive(Clone, Copy)]
enum Again {
    /// Its platforms become those that are asked for.
    Changes,
    /// Nothing.
    Leaves,
}

async fn settle(
    state: &impl StateStore,
    package: Package,
    again: Again,
) -> Result<Package, RegisterError> {
    let mut tries = 0;
    loop {
        let (registered, writes) = registration(state, package.clone(), again).await?;
        if writes.is_empty() {
            return Ok(registered);
        }
        match state
            .save(Commit {
                writes,
                effects: Vec::new(),
            })
            .await
        {
            Ok(()) => return Ok(registered),
            Err(SaveError::Conflict(_)) if tries < CONFLICTS_MAX => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// What registering a package comes to, and the writes that do it; none where there is nothing to do.
async fn registration(
    state: &impl StateStore,
    mut package: Package,
    again: Again,
) -> Result<(Package, Vec<Write>), RegisterError> {
    let index = repository_index(&package.clone_url)?;
    let (owner, is_claimed) = owner(state, &index).await?;
    if let Some(other) = owner.filter(|other| other.name != package.name) {
        return Err(RegisterError::RepositoryTaken {
            clone_url: package.clone_url,
            package: other.name,
        });
    }
    let mut writes = Vec::new();
    if !is_claimed {
        // Two packages that ask for one repository at once write one record: the later one is told to look again.
        writes.push(write(
            Table::Setting,
            &index,
            Expect::Absent,
            &package.name,
            Vec::new(),
        )?);
    }
    let mut expect = Expect::Absent;
    if let Some((existing, version)) =
        get::<Package>(state, Table::Package, package.name.as_str()).await?
    {
        if repository_index(&existing.clone_url)? != index {
            let Package {
                name,
                clone_url: asked,
                ..
            } = package;
            return Err(RegisterError::NameTaken {
                name,
                existing: existing.clone_url,
                asked,
            });
        }
        package.registered = existing.registered;
        if package == existing || matches!(again, Again::Leaves) {
            return Ok((existing, writes));
        }
        expect = Expect::Version(version);
    }
    let entry = IndexEntry {
        index,
        sort: package.name.to_string(),
    };
    writes.push(write(
        Table::Package,
        package.name.as_str(),
        expect,
        &package,
        vec![entry],
    )?);
    Ok((package, writes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_url_finds_the_same_repository() {
        let same = [
            "https://Forge.example/rpms/zlib.git",
            "http://forge.example:80/rpms/zlib",
            "https://forge.example:443/rpms/zlib/",
        ];
        for url in same {
            assert_eq!(
                repository_index(url).unwrap(),
                "repository/forge.example/rpms/zlib"
            );
        }
        assert_eq!(
            repository_index("file:///srv/git/zlib.git").unwrap(),
            "repository//srv/git/zlib"
        );
        assert_eq!(
            repository_index("/srv/git/zlib.git/").unwrap(),
            "repository//srv/git/zlib"
        );
    }

    #[test]
    fn what_cannot_be_fetched_is_no_clone_url() {
        for url in [
            "git@forge:rpms/zlib.git",
            "ssh://forge/zlib",
            "zlib",
            "",
            "https://forge",
            "https:///zlib",
            "file://zlib",
        ] {
            assert!(
                matches!(repository_index(url), Err(UrlError::Kind(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_without_being_repeated() {
        let error = repository_index("https://dana:hunter2@forge/rpms/zlib.git").unwrap_err();
        assert_eq!(error, UrlError::Password("forge".to_owned()));
        for url in [
            "https://dana:hunter2@forge/rpms/zlib.git",
            "ssh://dana:hunter2@forge/rpms/zlib.git",
            "dana:hunter2@forge",
        ] {
            assert!(
                !repository_index(url)
                    .unwrap_err()
                    .to_string()
                    .contains("hunter2"),
                "{url}"
            );
        }
    }
}
