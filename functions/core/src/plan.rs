//! From a push and a platform to a build: which tasks there are.

use crate::build::{Build, Stage};
use crate::platform::{On, PackageConfig, Platform, PlatformError, Step, steps_of};
use crate::push::Push;
use crate::task::{Task, TaskId};
use crate::{BuildId, Digest, PlatformName, PluginName, Timestamp};
use std::collections::BTreeMap;

/// Why no build comes of a push on a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The package's `millrace.toml` or the platform makes no sense; its author must act.
    #[error(transparent)]
    Steps(#[from] PlatformError),
    /// A step wants a plugin that nobody registered.
    #[error(
        "step `{step}` of platform {platform} wants the plugin `{plugin}`, which is not registered: `millrace plugin add {plugin} FILE`"
    )]
    NoPlugin {
        /// The step.
        step: String,
        /// The platform.
        platform: PlatformName,
        /// The plugin.
        plugin: PluginName,
    },
    /// `millrace.toml` asks for a platform that the line does not have.
    #[error("millrace.toml asks for the platform `{0}`, which the line does not have: `millrace platform list` shows those it has")]
    NoPlatform(PlatformName),
}

/// The platforms that a push is built on, in the order of their names: those that `millrace.toml` asks for, or else those
/// that the package is registered for, or else all; and of these the ones that build the pushed reference.
pub fn platforms_for<'a>(
    push: &Push,
    config: &PackageConfig,
    registered: &[PlatformName],
    all: &'a [Platform],
) -> Result<Vec<&'a Platform>, PlanError> {
    let wanted = if config.platforms.is_empty() { registered } else { &config.platforms };
    if let Some(missing) = wanted.iter().find(|name| !all.iter().any(|platform| platform.name == **name)) {
        return Err(PlanError::NoPlatform(missing.clone()));
    }
    let chosen = |platform: &&Platform| wanted.is_empty() || wanted.contains(&platform.name);
    let builds = |platform: &&Platform| platform.builds_reference(&push.announced.reference);
    Ok(all.iter().filter(chosen).filter(builds).collect())
}

/// Plans the build of a push on a platform, with the plugins that are registered now.
pub fn plan(
    push: &Push,
    config: &PackageConfig,
    platform: &Platform,
    plugins: &BTreeMap<PluginName, Digest>,
    now: Timestamp,
) -> Result<Build, PlanError> {
    let steps = steps_of(platform, config)?;
    let mut pinned = BTreeMap::new();
    for step in &steps {
        let Some(digest) = plugins.get(&step.plugin) else {
            let (step, plugin) = (step.name.to_string(), step.plugin.clone());
            return Err(PlanError::NoPlugin { step, platform: platform.name.clone(), plugin });
        };
        pinned.insert(step.plugin.clone(), *digest);
    }
    let tasks = steps.iter().flat_map(|step| tasks_of(step, platform)).collect();
    Ok(Build {
        id: BuildId::of_push(&push.announced.id, &platform.name),
        push: push.clone(),
        platform: Platform { steps, ..platform.clone() },
        plugins: pinned,
        tasks,
        stage: Stage::Running,
        created: now,
        ended: None,
    })
}

fn tasks_of(step: &Step, platform: &Platform) -> Vec<Task> {
    let task = |arch| Task::new(TaskId { step: step.name.clone(), arch });
    match step.on {
        On::Once => vec![task(None)],
        On::BuildArch | On::EachArch => platform.architectures.iter().map(|arch| task(Some(*arch))).collect(),
    }
}
