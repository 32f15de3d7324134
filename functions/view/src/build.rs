//! A build and what its tasks handed over, as they are shown.

use crate::pipeline::{TaskView, pipeline};
use crate::time::{rfc3339, rfc3339_or_null};
use crate::words::segment;
use millrace_core::build::{Build, End, Stage};
use millrace_core::hold::Hold;
use millrace_core::push::Commit;
use millrace_core::queue::Priority;
use millrace_core::rpm::Kind;
use millrace_core::task::{Artifact, TaskId};
use millrace_core::{BuildId, Digest, PackageName, PlatformName, ProjectName, PushId, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuildView {
    pub id: BuildId,
    /// The push that it belongs to.
    pub push: PushId,
    pub package: PackageName,
    /// Where it is built.
    pub platform: PlatformName,
    pub commit: Commit,
    /// `refs/heads/…` or `refs/tags/…`.
    pub reference: String,
    /// First line of the commit's message.
    pub subject: String,
    pub pusher: String,
    /// `running`, `signing`, `releasing`, `released`, `passed`, `excluded`, `failed` or `cancelled`.
    pub state: &'static str,
    /// Why, if the state does not say it.
    pub reason: Option<String>,
    /// Whose it is, when it waits with others.
    pub project: ProjectName,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether it is only a trial that is not released.
    pub scratch: bool,
    /// When it was planned.
    #[serde(serialize_with = "rfc3339")]
    pub created: Timestamp,
    #[serde(serialize_with = "rfc3339_or_null")]
    pub ended: Option<Timestamp>,
    /// From plan to end, or to now.
    pub duration_ms: u64,
    /// Number of the generation of the platform's repositories that first had its packages.
    pub generation: Option<u64>,
    /// What is done, in order: the tasks, then `sign` and `release`.
    pub pipeline: Vec<TaskView>,
    /// What the tasks handed over, as it was built, without signatures.
    pub artifacts: Vec<ArtifactView>,
}

/// A file that a task handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArtifactView {
    pub task: TaskId,
    pub name: String,
    /// In bytes.
    pub size: u64,
    pub digest: Digest,
    /// `name-[epoch:]version-release.arch`, if it is a package.
    pub nevra: Option<String>,
    /// The package's name, if it is one that people install.
    pub installs: Option<String>,
    /// Path to download it from.
    pub href: String,
}

impl BuildView {
    /// What is shown of a build at a time.
    pub fn of(build: &Build, now: Timestamp) -> Self {
        let announced = build.push.announced.clone();
        let generation = match &build.stage {
            Stage::Ended {
                end: End::Released { number, .. },
            } => Some(*number),
            Stage::Running
            | Stage::Signing { .. }
            | Stage::Releasing { .. }
            | Stage::Ended { .. } => None,
        };
        Self {
            id: build.id.clone(),
            push: announced.id,
            package: announced.package,
            platform: build.platform.name.clone(),
            commit: announced.commit,
            reference: announced.reference,
            subject: build.push.subject.clone(),
            pusher: announced.pusher,
            state: build.word(),
            reason: reason(build),
            project: build.rank.project.clone(),
            priority: build.rank.priority,
            scratch: announced.options.scratch,
            created: build.created,
            ended: build.ended,
            duration_ms: build.ended.unwrap_or(now).since_ms(build.created),
            generation,
            pipeline: pipeline(build, now),
            artifacts: artifacts(build),
        }
    }

    /// The same with its sandboxes that are held.
    #[must_use]
    pub fn with_holds(mut self, holds: &[Hold], now: Timestamp) -> Self {
        self.pipeline
            .iter_mut()
            .for_each(|task| task.see_hold(holds, now));
        self
    }

    /// Whether nothing more happens.
    pub const fn is_ended(&self) -> bool {
        self.ended.is_some()
    }
}

fn reason(build: &Build) -> Option<String> {
    match &build.stage {
        Stage::Ended {
            end: End::Cancelled { by },
        } => Some(format!("stopped by {by}")),
        Stage::Running | Stage::Signing { .. } | Stage::Releasing { .. } | Stage::Ended { .. } => {
            build.reason().map(str::to_owned)
        }
    }
}

fn artifacts(build: &Build) -> Vec<ArtifactView> {
    let all = || {
        build.tasks.iter().flat_map(|task| {
            task.artifacts()
                .iter()
                .map(move |artifact| (&task.id, artifact))
        })
    };
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, artifact) in all() {
        *seen.entry(&artifact.name).or_default() += 1;
    }
    let view = |(task, artifact): (&TaskId, &Artifact)| {
        // Two architectures may hand over files of one name; then the address says which.
        let alone = seen.get(artifact.name.as_str()) == Some(&1);
        let which = if alone {
            String::new()
        } else {
            format!("?task={}", segment(&task.to_string()))
        };
        let rpm = artifact.rpm.as_ref();
        ArtifactView {
            task: task.clone(),
            name: artifact.name.clone(),
            size: artifact.size,
            digest: artifact.digest,
            nevra: rpm.map(ToString::to_string),
            installs: rpm
                .filter(|rpm| {
                    rpm.kind() == Kind::Os && build.step_of(task).is_some_and(|step| step.releases)
                })
                .map(|rpm| rpm.name.clone()),
            href: format!(
                "/builds/{}/files/{}{which}",
                build.id,
                segment(&artifact.name)
            ),
        }
    };
    all().map(view).collect()
}
