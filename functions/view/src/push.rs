//! Pushes and packages, as they are shown.

use crate::build::BuildView;
use crate::time::rfc3339;
use millrace_core::push::{Commit, Package, PushRecord, PushState, Suspension};
use millrace_core::queue::Priority;
use millrace_core::{BuildId, PackageName, PlatformName, ProjectName, PushId, Timestamp};
use serde::Serialize;

/// A push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PushView {
    pub id: PushId,
    pub package: PackageName,
    pub commit: Commit,
    /// `refs/heads/…` or `refs/tags/…`.
    pub reference: String,
    pub pusher: String,
    /// `fetching`, `fetched`, `planned` or `refused`.
    pub state: &'static str,
    /// Why it was refused, and what to do.
    pub reason: Option<String>,
    /// When the line received it.
    #[serde(serialize_with = "rfc3339")]
    pub received: Timestamp,
    /// Its builds, one per platform.
    pub builds: Vec<BuildId>,
}

impl PushView {
    /// What is shown of a push.
    pub fn of(record: &PushRecord) -> Self {
        let announced = record.announced.clone();
        let (state, reason, builds) = match &record.state {
            PushState::Fetching => ("fetching", None, Vec::new()),
            PushState::Fetched => ("fetched", None, Vec::new()),
            PushState::Planned { builds } => ("planned", None, builds.clone()),
            PushState::Refused { reason } => ("refused", Some(reason.clone()), Vec::new()),
        };
        Self {
            id: announced.id,
            package: announced.package,
            commit: announced.commit,
            reference: announced.reference,
            pusher: announced.pusher,
            state,
            reason,
            received: announced.received,
            builds,
        }
    }
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageView {
    pub name: PackageName,
    /// Where its commits are fetched from.
    pub clone_url: String,
    /// With which others it shares the runners.
    pub project: ProjectName,
    /// How urgent its builds are.
    pub priority: Priority,
    /// The platforms that it is built on; empty for all.
    pub platforms: Vec<PlatformName>,
    /// When it was registered.
    #[serde(serialize_with = "rfc3339")]
    pub registered: Timestamp,
    /// Its latest build on each platform, by the platform's name.
    pub latest: Vec<BuildView>,
    /// The name of its source package, if that is not its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_name: Option<String>,
    /// Whether nothing of it is built or signed for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspension>,
}

impl PackageView {
    /// What is shown of a package, given some of its builds, the newest first.
    pub fn of(package: &Package, builds: Vec<BuildView>) -> Self {
        let mut latest: Vec<BuildView> = Vec::new();
        for build in builds {
            if !latest.iter().any(|newer| newer.platform == build.platform) {
                latest.push(build);
            }
        }
        latest.sort_by(|one, other| one.platform.cmp(&other.platform));
        let Package {
            name,
            clone_url,
            platforms,
            registered,
            source_name,
            project,
            priority,
            suspended,
        } = package.clone();
        Self {
            name,
            project: project.unwrap_or_else(|| ProjectName::of_clone_url(&clone_url)),
            priority: priority.unwrap_or_default(),
            clone_url: crate::platform::without_password(&clone_url),
            platforms,
            registered,
            source_name,
            suspended,
            latest,
        }
    }
}
