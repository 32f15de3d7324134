//! From a push and a platform to a build: which tasks there are.

use crate::build::{Build, Stage};
use crate::platform::{PackageConfig, Platform, PlatformError, Step, StepScope, steps_of};
use crate::push::{BuildOptions, Push};
use crate::task::{Task, TaskId};
use crate::{Arch, BuildId, Digest, PackageName, PlatformName, PluginName, Timestamp};
use std::collections::BTreeMap;

/// Most tasks of a build: the default steps on four architectures are nine. One commit of a store takes 100 writes, and may have to
/// mark each task as ready or held and tell of each, besides the build itself.
pub const TASKS_MAX: usize = 40;

/// Largest build at its beginning, in bytes of JSON: a record takes 380 KiB, and what tasks hand over takes 260 bytes per package.
pub const BUILD_BYTES_MAX: usize = 256 * 1024;

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
        step: String,
        platform: PlatformName,
        plugin: PluginName,
    },
    /// `millrace.toml` asks for a platform that the line does not have.
    #[error(
        "millrace.toml asks for the platform `{0}`, which the line does not have: `millrace platform list` shows those it has"
    )]
    NoPlatform(PlatformName),
    /// The package was registered for a platform that the line does not have, or not any more.
    #[error(
        "the package is registered for the platform `{0}`, which the line does not have: `millrace platform add` adds it, \
         `millrace package add` with other `--platform` changes the registration"
    )]
    RegisteredFor(PlatformName),
    /// `millrace.toml` asks for a platform that the package may not be built for.
    #[error(
        "millrace.toml asks for the platform `{platform}`; the package is registered for {}: the line's operator can register it for \
         more, by `millrace package add` with `--platform`",
        names(registered)
    )]
    NotRegistered {
        /// The one that it asks for.
        platform: PlatformName,
        /// Those that it may have.
        registered: Vec<PlatformName>,
    },
    /// The options name a platform that the push is not built on.
    #[error("{package} is not built on the platform `{platform}` from {reference}: it is built on {}", names(.built))]
    NotBuiltOn {
        package: PackageName,
        /// From which branch or tag.
        reference: String,
        /// The platform that the options name.
        platform: PlatformName,
        /// Those that it is built on.
        built: Vec<PlatformName>,
    },
    /// The options name an architecture that the platform does not have.
    #[error("platform {platform} has no {arch}")]
    NoArchitecture {
        platform: PlatformName,
        /// What it does not have.
        arch: Arch,
    },
    /// More than a build may consist of; the author of the steps must act.
    #[error(
        "{tasks} tasks on platform {platform}; a build may have {TASKS_MAX}: put several of the steps into one plugin"
    )]
    ManyTasks {
        platform: PlatformName,
        tasks: usize,
    },
    /// More than a build's record may begin with; the package's author must act.
    #[error(
        "the build would begin with {bytes} bytes of sources' names and steps' configuration; the line takes {BUILD_BYTES_MAX}: put long \
         configuration into a file of the repository, which every step is given"
    )]
    ManyWords { bytes: usize },
}

fn names(platforms: &[PlatformName]) -> String {
    match platforms {
        [] => "none".to_owned(),
        some => some
            .iter()
            .map(PlatformName::as_str)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The platforms that a push is built on, in the order of their names: those that the package is registered for, or else all. Of these the
/// ones that its `millrace.toml` asks for, if it asks for some. Of these the ones that build the pushed reference; and of these those that
/// the build options name, if they name any.
pub fn platforms_for<'a>(
    push: &Push,
    config: &PackageConfig,
    registered: &[PlatformName],
    all: &'a [Platform],
) -> Result<Vec<&'a Platform>, PlanError> {
    let is_there = |name: &&PlatformName| all.iter().any(|platform| platform.name == **name);
    if let Some(missing) = registered.iter().find(|name| !is_there(name)) {
        return Err(PlanError::RegisteredFor(missing.clone()));
    }
    for asked in &config.platforms {
        if !is_there(&asked) {
            return Err(PlanError::NoPlatform(asked.clone()));
        }
        // What is signed with a platform's key, and goes into its repositories, is not for a push to say.
        if !registered.is_empty() && !registered.contains(asked) {
            return Err(PlanError::NotRegistered {
                platform: asked.clone(),
                registered: registered.to_vec(),
            });
        }
    }
    let wanted = if config.platforms.is_empty() {
        registered
    } else {
        &config.platforms
    };
    let chosen = |platform: &&Platform| wanted.is_empty() || wanted.contains(&platform.name);
    let builds = |platform: &&Platform| platform.builds_reference(&push.announced.reference);
    let mut built: Vec<&Platform> = all.iter().filter(chosen).filter(builds).collect();
    let asked = &push.announced.options.platforms;
    if let Some(platform) = asked
        .iter()
        .find(|name| !built.iter().any(|platform| platform.name == **name))
    {
        return Err(PlanError::NotBuiltOn {
            package: push.announced.package.clone(),
            reference: push.announced.reference.clone(),
            platform: platform.clone(),
            built: built
                .into_iter()
                .map(|platform| platform.name.clone())
                .collect(),
        });
    }
    built.retain(|platform| asked.is_empty() || asked.contains(&platform.name));
    Ok(built)
}

/// Plans the build of a push on a platform, with the plugins that are registered now.
pub fn plan(
    push: &Push,
    config: &PackageConfig,
    platform: &Platform,
    plugins: &BTreeMap<PluginName, Digest>,
    now: Timestamp,
) -> Result<Build, PlanError> {
    let platform = &with_options(platform, &push.announced.options)?;
    let steps = steps_of(platform, config)?;
    let mut pinned = BTreeMap::new();
    for step in &steps {
        let Some(digest) = plugins.get(&step.plugin) else {
            let (step, plugin) = (step.name.to_string(), step.plugin.clone());
            return Err(PlanError::NoPlugin {
                step,
                platform: platform.name.clone(),
                plugin,
            });
        };
        pinned.insert(step.plugin.clone(), *digest);
    }
    let tasks: Vec<Task> = steps
        .iter()
        .flat_map(|step| tasks_of(step, platform))
        .collect();
    if tasks.len() > TASKS_MAX {
        return Err(PlanError::ManyTasks {
            platform: platform.name.clone(),
            tasks: tasks.len(),
        });
    }
    let build = Build {
        id: BuildId::of_push(&push.announced.id, &platform.name),
        push: push.clone(),
        platform: Platform {
            steps,
            ..platform.clone()
        },
        plugins: pinned,
        tasks,
        stage: Stage::Running,
        created: now,
        ended: None,
        rank: push.announced.rank(None),
        waits: None,
        order_retries: 0,
    };
    // A struct of strings, numbers and lists has a JSON form; the fallback only keeps this total.
    let bytes = serde_json::to_vec(&build).map_or(usize::MAX, |json| json.len());
    if bytes > BUILD_BYTES_MAX {
        Err(PlanError::ManyWords { bytes })
    } else {
        Ok(build)
    }
}

/// A platform with the build options laid over it.
fn with_options(platform: &Platform, options: &BuildOptions) -> Result<Platform, PlanError> {
    if let Some(arch) = options
        .architectures
        .iter()
        .find(|arch| !platform.architectures.contains(arch))
    {
        return Err(PlanError::NoArchitecture {
            platform: platform.name.clone(),
            arch: *arch,
        });
    }
    let mut platform = platform.clone();
    platform
        .architectures
        .retain(|arch| options.architectures.is_empty() || options.architectures.contains(arch));
    platform.macros.extend(options.macros.clone());
    Ok(platform)
}

fn tasks_of(step: &Step, platform: &Platform) -> Vec<Task> {
    let task = |arch| {
        Task::new(TaskId {
            step: step.name.clone(),
            arch,
        })
    };
    match step.on {
        StepScope::Once => vec![task(None)],
        StepScope::BuildArch | StepScope::EachArch => platform
            .architectures
            .iter()
            .map(|arch| task(Some(*arch)))
            .collect(),
    }
}
