//! Names that belong to packages, and grants of them.

use crate::{ControlError, NotFound, package, platform};
use millrace_core::access::Actor;
use millrace_core::ownership::{Claim, Grant, OwnedName, ReleaseTarget};
use millrace_core::{PackageName, PlatformName, Timestamp};
use millrace_store::{StateStore, ownership};
use tracing::{info, instrument};

/// A name that a package may use, or may not use any more.
#[derive(Debug, Clone)]
pub struct NameRequest {
    pub package: PackageName,
    pub name: OwnedName,
    pub platform: PlatformName,
}

/// Lets a package release, obsolete and provide a name on a platform, whoever has it. Doing it twice does no harm.
#[instrument(skip_all, fields(actor = actor.record(), package = %request.package, name = %request.name, platform = %request.platform))]
pub async fn grant(
    actor: &Actor,
    request: NameRequest,
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Claim, ControlError> {
    info!("asked to grant a name");
    let target = checked(&request, state).await?;
    let grant = Grant {
        by: actor.clone(),
        at: now,
    };
    let NameRequest { package, name, .. } = &request;
    Ok(ownership::grant(state, &target, name, package, grant).await?)
}

/// Takes such a grant back. What was released by it stays released.
#[instrument(skip_all, fields(actor = actor.record(), package = %request.package, name = %request.name, platform = %request.platform))]
pub async fn revoke(
    actor: &Actor,
    request: NameRequest,
    state: &impl StateStore,
) -> Result<Claim, ControlError> {
    info!("asked to take a grant of a name back");
    let target = checked(&request, state).await?;
    let NameRequest {
        package,
        name,
        platform,
    } = request;
    let revoked = ownership::revoke(state, &target, &name, &package).await?;
    revoked.ok_or_else(|| {
        NotFound::Grant {
            package,
            name,
            platform,
        }
        .into()
    })
}

/// The names of packages that are a package's own or were granted to it, on every platform.
pub async fn list(
    package: &PackageName,
    state: &impl StateStore,
) -> Result<Vec<Claim>, ControlError> {
    package::show(package, state).await?;
    Ok(ownership::names_of(state, package).await?)
}

/// The target that a request is about, whose package and platform there must be.
async fn checked(
    request: &NameRequest,
    state: &impl StateStore,
) -> Result<ReleaseTarget, ControlError> {
    package::show(&request.package, state).await?;
    platform::show(&request.platform, state).await?;
    Ok(ReleaseTarget::of_platform(&request.platform))
}
