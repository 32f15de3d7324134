//! Which repository belongs to which package: one record for each, written together, so that neither is taken twice.

use crate::ownership;
use crate::records::{get, write};
use crate::state::{
    Commit, Expect, IndexEntry, Key, SaveError, StateError, StateStore, Table, Version, Write,
};
use millrace_core::PackageName;
use millrace_core::clone_url::{UrlError, repository_index};
use millrace_core::push::Package;

/// Times that a registration is tried again because somebody else wrote first; nobody registers one package in a loop.
const CONFLICTS_MAX: usize = 10;

/// A package that was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Its name belongs to another repository.
    #[error(
        "{name} is already the package of {existing}: give {asked} another name with `millrace package add NAME {asked}`"
    )]
    NameTaken {
        name: PackageName,
        /// The repository that has it.
        existing: String,
        /// The repository that wants it.
        asked: String,
    },
    /// Its repository belongs to another package.
    #[error("{clone_url} is already the repository of package {package}")]
    RepositoryTaken {
        clone_url: String,
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

/// Registers a package, or changes platforms, project and priority of one that has the same name and repository. Answers what is registered
/// now; doing it twice does no harm. The first registration's time stays.
pub async fn register(state: &impl StateStore, package: Package) -> Result<Package, RegisterError> {
    settle(state, package, Reregistration::Changes).await
}

/// Registers a package, or leaves one as it is that has the same name and repository. Answers what is registered now.
pub async fn register_new(
    state: &impl StateStore,
    package: Package,
) -> Result<Package, RegisterError> {
    settle(state, package, Reregistration::Leaves).await
}

/// What registering a package does that is registered already.
#[derive(Clone, Copy)]
enum Reregistration {
    /// All but its name, its repository and its time become what is asked for.
    Changes,
    Leaves,
}

async fn settle(
    state: &impl StateStore,
    package: Package,
    again: Reregistration,
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

/// What registering a package changes, and the writes that do it; none if there is nothing to do.
async fn registration(
    state: &impl StateStore,
    mut package: Package,
    again: Reregistration,
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
        package.suspended.clone_from(&existing.suspended);
        package.source_name = package.source_name.or_else(|| existing.source_name.clone());
        if package == existing || matches!(again, Reregistration::Leaves) {
            return Ok((existing, writes));
        }
        expect = Expect::Version(version);
    }
    writes.push(write(
        Table::Package,
        package.name.as_str(),
        expect,
        &package,
        vec![entry(&package)?],
    )?);
    Ok((package, writes))
}

/// Changes what is said of a package, and answers what is said now; none if there is no such package. Its name and its repository stay.
pub async fn change(
    state: &impl StateStore,
    name: &PackageName,
    change: impl Fn(&mut Package),
) -> Result<Option<Package>, SaveError> {
    loop {
        let found: Option<(Package, Version)> = get(state, Table::Package, name.as_str()).await?;
        let Some((before, version)) = found else {
            return Ok(None);
        };
        let mut after = before.clone();
        change(&mut after);
        (after.name, after.clone_url) = (before.name.clone(), before.clone_url.clone());
        if after == before {
            return Ok(Some(after));
        }
        let write = write(
            Table::Package,
            name.as_str(),
            Expect::Version(version),
            &after,
            vec![entry(&after)?],
        )?;
        match state.save(write.into()).await {
            Ok(()) => return Ok(Some(after)),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
    }
}

/// Forgets a package: its names are free, and its repository may be another package's. Answers what it was; none if there is none. Doing it
/// again after a stop goes on where it was.
pub async fn remove(
    state: &impl StateStore,
    name: &PackageName,
) -> Result<Option<Package>, SaveError> {
    loop {
        let found: Option<(Package, Version)> = get(state, Table::Package, name.as_str()).await?;
        let Some((package, version)) = found else {
            return Ok(None);
        };
        ownership::release_all(state, name).await?;
        let key = Key::new(Table::Package, name.as_str());
        let mut writes = vec![Write::removal(key, version)];
        let index = index_of(&package)?;
        let repository: Option<(PackageName, Version)> = get(state, Table::Setting, &index).await?;
        if let Some((owner, version)) = repository
            && owner == *name
        {
            writes.push(Write::removal(Key::new(Table::Setting, index), version));
        }
        let commit = Commit {
            writes,
            effects: Vec::new(),
        };
        match state.save(commit).await {
            Ok(()) => return Ok(Some(package)),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
    }
}

fn entry(package: &Package) -> Result<IndexEntry, StateError> {
    Ok(IndexEntry {
        index: index_of(package)?,
        sort: package.name.to_string(),
    })
}

/// The index of a registered package's repository, whose address was checked when it was registered.
fn index_of(package: &Package) -> Result<String, StateError> {
    repository_index(&package.clone_url)
        .map_err(|error| StateError::unreadable(format!("package `{}`", package.name), error))
}
