//! Packages that the line builds when they are pushed to.

use crate::{ControlError, NotFound};
use millrace_core::access::Actor;
use millrace_core::push::Package;
use millrace_core::queue::Priority;
use millrace_core::{PackageName, PlatformName, ProjectName, Timestamp};
use millrace_store::packages::register;
use millrace_store::records::{all, get};
use millrace_store::{StateStore, Table};
use tracing::{info, instrument};

/// A package that somebody registers.
#[derive(Debug, Clone)]
pub struct PackageRequest {
    /// As its spec file's.
    pub name: PackageName,
    /// As the forge's webhooks name it.
    pub clone_url: String,
    /// Only for these; for all whose branches match if there are none.
    pub platforms: Vec<PlatformName>,
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
        project: request.project,
        priority: request.priority,
    };
    Ok(register(state, package).await?)
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
