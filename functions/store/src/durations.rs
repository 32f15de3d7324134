//! How long tasks take, by what they took before.

use crate::builds::load_build;
use crate::index::package_platform_index;
use crate::state::{StateError, StateStore};
use millrace_core::build::Build;
use millrace_core::task::{Task, TaskId, TaskState};
use millrace_core::{PackageName, PlatformName};
use std::collections::BTreeMap;

/// What a task takes of which nothing is known, in milliseconds: what half of a distribution's packages take.
pub(crate) const UNKNOWN_MS: u64 = 180_000;

/// Builds of a package looked at for how long a task of it takes: the last, and one before it if that failed.
const EARLIER: usize = 3;

/// Last builds of packages on platforms, each looked for once.
#[derive(Default)]
pub(crate) struct PastBuilds(BTreeMap<(PackageName, PlatformName), Vec<Build>>);

impl PastBuilds {
    /// How long a task takes, by what it took in the package's last builds, in milliseconds.
    pub(crate) async fn takes_ms(
        &mut self,
        state: &impl StateStore,
        package: &PackageName,
        platform: &PlatformName,
        task: &TaskId,
    ) -> Result<u64, StateError> {
        let key = (package.clone(), platform.clone());
        if !self.0.contains_key(&key) {
            let builds = last_builds(state, package, platform).await?;
            self.0.insert(key.clone(), builds);
        }
        let took = self
            .0
            .get(&key)
            .into_iter()
            .flatten()
            .find_map(|build| took_ms(build.task(task)?));
        Ok(took.unwrap_or(UNKNOWN_MS))
    }
}

async fn last_builds(
    state: &impl StateStore,
    package: &PackageName,
    platform: &PlatformName,
) -> Result<Vec<Build>, StateError> {
    let index = package_platform_index(package, platform);
    let mut builds = Vec::new();
    for hit in state.index_entries(&index, None, EARLIER).await? {
        let Ok(id) = hit.key.id.parse() else {
            continue;
        };
        builds.extend(load_build(state, &id).await?.map(|(build, _)| build));
    }
    Ok(builds)
}

fn took_ms(task: &Task) -> Option<u64> {
    let passed = matches!(task.state, TaskState::Passed { .. });
    task.times()
        .filter(|_| passed)
        .and_then(|(began, ended)| Some(ended?.since_ms(began)))
}
