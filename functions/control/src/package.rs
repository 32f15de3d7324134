//! Packages that the line builds when they are pushed to.

use crate::{ControlError, NotFound};
use millrace_core::access::Actor;
use millrace_core::ownership::OwnedName;
use millrace_core::push::{Package, Suspension};
use millrace_core::queue::Priority;
use millrace_core::{PackageName, PlatformName, ProjectName, Timestamp};
use millrace_store::packages::{self, register};
use millrace_store::records::{all, get};
use millrace_store::{StateStore, Table};
use tracing::{info, instrument};

/// Longest reason for a suspension, in bytes: a sentence and a link.
const REASON_BYTES_MAX: usize = 500;

/// A package that somebody registers.
#[derive(Debug, Clone)]
pub struct PackageRequest {
    /// As its spec file's.
    pub name: PackageName,
    /// As the forge's webhooks name it.
    pub clone_url: String,
    /// Only for these; for all whose branches match if there are none.
    pub platforms: Vec<PlatformName>,
    /// Name in its spec file, if that is another.
    pub source_name: Option<String>,
    /// With which others it shares the runners.
    pub project: Option<ProjectName>,
    /// How urgent its builds are.
    pub priority: Option<Priority>,
}

/// Registers a package, or changes one that has the same name and repository. Doing it twice does no harm, and the time of the
/// first registration stays.
#[instrument(skip_all, fields(actor = actor.record(), package = %request.name))]
pub async fn add(
    actor: &Actor,
    request: PackageRequest,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Package, ControlError> {
    info!("asked to register a package");
    let package = Package {
        name: request.name,
        clone_url: request.clone_url,
        platforms: request.platforms,
        registered: now,
        source_name: request.source_name.map(source_name).transpose()?,
        project: request.project,
        priority: request.priority,
        suspended: None,
    };
    Ok(register(state, package).await?)
}

/// Takes what a spec file may have as its Name.
fn source_name(name: String) -> Result<String, ControlError> {
    match format!("source:{name}").parse::<OwnedName>() {
        Ok(OwnedName::Source(name)) => Ok(name),
        Ok(_) | Err(_) => Err(ControlError::Invalid(format!(
            "`{name}` is no name of a source package"
        ))),
    }
}

/// What is to be said of a package from now on; nothing changes of what is none.
#[derive(Debug, Clone, Default)]
pub struct PackageEdit {
    /// Only for these; an empty list is for all whose branches match.
    pub platforms: Option<Vec<PlatformName>>,
    /// Name in its spec file.
    pub source_name: Option<String>,
    pub project: Option<ProjectName>,
    pub priority: Option<Priority>,
}

/// Changes what is said of a package. Builds that are planned stay as they are.
#[instrument(skip_all, fields(actor = actor.record(), package = %name))]
pub async fn edit(
    actor: &Actor,
    name: &PackageName,
    edit: PackageEdit,
    state: &impl StateStore,
) -> Result<Package, ControlError> {
    info!("asked to change a package");
    let PackageEdit {
        platforms,
        source_name: given,
        project,
        priority,
    } = edit;
    let given = given.map(source_name).transpose()?;
    let changed = packages::change(state, name, |package| {
        if let Some(platforms) = &platforms {
            package.platforms.clone_from(platforms);
        }
        package.source_name = given.clone().or(package.source_name.take());
        package.project = project.clone().or(package.project.take());
        package.priority = priority.or(package.priority);
    });
    Ok(changed
        .await?
        .ok_or_else(|| NotFound::Package(name.clone()))?)
}

/// Sees to it that nothing of a package is built or signed from now on: pushes are refused with this reason, and so are builds that come to
/// be signed. What is released stays. Doing it again changes the reason.
#[instrument(skip_all, fields(actor = actor.record(), package = %name))]
pub async fn suspend(
    actor: &Actor,
    name: &PackageName,
    reason: &str,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Package, ControlError> {
    info!("asked to suspend a package");
    let reason = reason.trim();
    if reason.len() > REASON_BYTES_MAX || reason.contains(char::is_control) {
        return Err(ControlError::Invalid(format!(
            "a reason is one line of at most {REASON_BYTES_MAX} bytes"
        )));
    }
    let suspension = Suspension {
        by: actor.clone(),
        at: now,
        reason: reason.to_owned(),
    };
    let changed = packages::change(state, name, |package| {
        package.suspended = Some(suspension.clone());
    });
    Ok(changed
        .await?
        .ok_or_else(|| NotFound::Package(name.clone()))?)
}

/// Ends a suspension. Doing it twice does no harm.
#[instrument(skip_all, fields(actor = actor.record(), package = %name))]
pub async fn resume(
    actor: &Actor,
    name: &PackageName,
    state: &impl StateStore,
) -> Result<Package, ControlError> {
    info!("asked to end the suspension of a package");
    let changed = packages::change(state, name, |package| package.suspended = None);
    Ok(changed
        .await?
        .ok_or_else(|| NotFound::Package(name.clone()))?)
}

/// Forgets a package: pushes to its repository build nothing from now on, its names are free, and builds of it that come to be signed are
/// refused. What is released stays, and so do its builds.
#[instrument(skip_all, fields(actor = actor.record(), package = %name))]
pub async fn remove(
    actor: &Actor,
    name: &PackageName,
    state: &impl StateStore,
) -> Result<Package, ControlError> {
    info!("asked to remove a package");
    let removed = packages::remove(state, name).await?;
    Ok(removed.ok_or_else(|| NotFound::Package(name.clone()))?)
}

/// All registered packages.
pub async fn list(state: &impl StateStore) -> Result<Vec<Package>, ControlError> {
    Ok(all(state, Table::Package).await?)
}

/// One registered package.
pub async fn show(name: &PackageName, state: &impl StateStore) -> Result<Package, ControlError> {
    let found = get(state, Table::Package, name.as_str()).await?;
    let (package, _) = found.ok_or_else(|| NotFound::Package(name.clone()))?;
    Ok(package)
}
