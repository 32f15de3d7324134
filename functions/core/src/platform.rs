//! A platform is data: what a distribution's builds have in common, read from one TOML file.

mod buildroot;
mod keys;
mod limits;
mod requires;

pub use buildroot::{Archive, Buildroot, Image, Provider};
pub use limits::{Limits, SandboxOptions, StepLimits};
pub use requires::{FEATURES_MAX, Requires};

use crate::release::repository::{belongs, repositories_of};
use crate::rpm::Rpm;
use crate::{Arch, KeyName, PlatformName, PluginName, StepName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most steps a platform and a package may have together: the default three, and what a distribution and a careful package add. Each brings
/// a task an architecture, whose number has a bound of its own.
pub const STEPS_MAX: usize = 32;

/// Everything that builds for one distribution release have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// Its name, unique in the line.
    pub name: PlatformName,
    /// What it is, for people.
    #[serde(default)]
    pub title: String,
    /// Where packages are built, in order of preference: noarch packages come from the first that builds them.
    pub architectures: Vec<Arch>,
    /// Whether packages of 32 bits are taken from builds on an architecture that runs them (i686 on x86_64), and released beside its own.
    #[serde(
        default = "multilib_default",
        skip_serializing_if = "is_multilib_default"
    )]
    pub multilib: bool,
    /// Whose noarch packages are released where several architectures make them. They need not be equal then; without it, a build whose
    /// noarch packages differ fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noarch_from: Option<Arch>,
    /// References that are built, as patterns with `*`; every branch and tag if there is none.
    #[serde(default)]
    pub branches: Vec<String>,
    /// `releasever` for dnf.
    pub releasever: String,
    /// dnf's `module_platform_id`, for distributions with modules (`platform:el9`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_platform: Option<String>,
    /// The signing key of what is released.
    pub key: KeyName,
    /// RPM macros that every build sets (`dist = ".el9"`).
    #[serde(default)]
    pub macros: BTreeMap<String, String>,
    /// Where build dependencies come from; what the line has released comes on top.
    pub repositories: Vec<Repository>,
    /// What a root has before anything was asked for.
    pub buildroot: Buildroot,
    /// Bounds of a task; a step may have its own.
    #[serde(default)]
    pub limits: Limits,
    /// What is done to a push.
    pub steps: Vec<Step>,
}

/// Enterprise Linux and Fedora release packages of 32 bits beside those of x86_64.
const fn multilib_default() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_multilib_default(multilib: &bool) -> bool {
    *multilib
}

/// A dnf repository that roots are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Its id, as in a `.repo` file.
    pub id: String,
    /// Where it lies; `$basearch` and `$releasever` stand for themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseurl: Option<String>,
    /// Or where a list of its mirrors lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrorlist: Option<String>,
    /// The keys that its packages must be signed with; none means that they are not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpgkey: Option<String>,
    /// dnf's priority: the lowest wins. What the line released has 10.
    #[serde(default = "priority_default")]
    pub priority: u32,
}

/// dnf's own default priority.
const fn priority_default() -> u32 {
    99
}

/// How often a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepScope {
    /// Once a build, on whichever runner is free.
    Once,
    /// StepScope each architecture that the package is built on: all that ExclusiveArch and ExcludeArch leave, and the first of
    /// them only if the whole package is noarch.
    BuildArch,
    /// StepScope each architecture that ExclusiveArch and ExcludeArch leave.
    EachArch,
}

/// Something that is done to a push by a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique in the platform.
    pub name: StepName,
    /// The plugin that does it.
    pub plugin: PluginName,
    pub on: StepScope,
    /// Steps whose results it needs; they must have passed.
    #[serde(default)]
    pub needs: Vec<StepName>,
    /// Whether what it hands over may be signed and released.
    #[serde(default)]
    pub releases: bool,
    /// Whether its commands may use the network of the machine that they run on: all that this machine itself reaches, services on its
    /// loopback and a cloud's metadata address among it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
    /// Whether folders list their files as the disk has them, where otherwise they have one order on every machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_order: bool,
    /// Handed to the plugin as JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, serde_json::Value>,
    /// Keys of `config` that a package may set in its `millrace.toml`; it may set no other of a platform's step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub package_may_set: Vec<String>,
    /// Its own bounds, if the platform's do not do; those that it does not name are the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<StepLimits>,
    /// What the machine must have that does it.
    #[serde(default, skip_serializing_if = "Requires::is_nothing")]
    pub requires: Requires,
}

/// A package's own `millrace.toml`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PackageConfig {
    /// Path of the spec file, if its name does not tell.
    pub spec: Option<String>,
    /// Platforms to build for; empty for all that the package is registered for.
    pub platforms: Vec<PlatformName>,
    /// Whether all its steps have folders listed as the disk has them: for packages whose tests listen to system calls themselves
    /// (seccomp_unotify(2)), which one process in a tree may.
    pub disk_order: bool,
    /// Steps of the package's own.
    pub steps: Vec<Step>,
    /// Configuration that is laid over that of the platform's steps, by step.
    pub config: BTreeMap<StepName, BTreeMap<String, serde_json::Value>>,
}

/// A platform or `millrace.toml` that cannot be used; its author must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// No TOML, a key that nobody knows, a value of the wrong kind. The text has line, column and the keys there are.
    #[error("{file}: {problem}")]
    Syntax { file: String, problem: String },
    /// It reads well and makes no sense.
    #[error("{file}: {problem}")]
    Sense {
        file: String,
        /// What, and what to do.
        problem: String,
    },
}

impl Platform {
    /// Reads and checks a platform file; `file` is named in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlatformError> {
        let platform: Self = read::<keys::Platform, Self>(file, text)?;
        platform.check().map_err(|problem| PlatformError::Sense {
            file: file.to_owned(),
            problem,
        })?;
        Ok(platform)
    }

    fn check(&self) -> Result<(), String> {
        if self.architectures.is_empty() {
            return Err("`architectures` is empty: name at least one".to_owned());
        }
        if let Some(arch) = self
            .architectures
            .iter()
            .enumerate()
            .find(|(n, arch)| self.architectures[..*n].contains(arch))
        {
            return Err(format!("`architectures` names {} twice", arch.1));
        }
        if let Some(arch) = self.noarch_from
            && !self.architectures.contains(&arch)
        {
            return Err(format!(
                "`noarch_from` names {arch}, which is not among `architectures`"
            ));
        }
        for repository in &self.repositories {
            if repository.baseurl.is_some() == repository.mirrorlist.is_some() {
                return Err(format!(
                    "repository `{}` needs either `baseurl` or `mirrorlist`",
                    repository.id
                ));
            }
            if repository.id == RELEASED_REPOSITORY {
                return Err(format!(
                    "the repository id `{RELEASED_REPOSITORY}` is what the line itself has released: take another"
                ));
            }
        }
        self.buildroot.check(&self.architectures)?;
        check_steps(&self.steps)
    }

    /// Whether a package would be in one of its repositories.
    pub fn has_repository_for(&self, rpm: &Rpm) -> bool {
        repositories_of(&self.architectures)
            .into_iter()
            .any(|repository| belongs(rpm, repository))
    }

    /// Whether a push to this reference is built.
    pub fn builds_reference(&self, reference: &str) -> bool {
        let name = reference
            .strip_prefix("refs/heads/")
            .or_else(|| reference.strip_prefix("refs/tags/"))
            .unwrap_or(reference);
        self.branches.is_empty()
            || self
                .branches
                .iter()
                .any(|pattern| matches(pattern, name) || matches(pattern, reference))
    }
}

/// Id of the repository that holds what the line has released, in every root.
pub const RELEASED_REPOSITORY: &str = "millrace-released";

impl PackageConfig {
    /// Reads a package's `millrace.toml`; an empty text is an empty configuration.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        read::<keys::PackageConfig, Self>("millrace.toml", text)
    }
}

/// Reads a file of which no key may be misspelt. Records that were kept and messages of other versions may have keys that are not
/// known yet, so the types themselves pass over those.
fn read<Keys: DeserializeOwned, T: DeserializeOwned>(
    file: &str,
    text: &str,
) -> Result<T, PlatformError> {
    let syntax = |error: toml::de::Error| PlatformError::Syntax {
        file: file.to_owned(),
        problem: error.to_string().trim_end().to_owned(),
    };
    toml::from_str::<Keys>(text).map_err(syntax)?;
    toml::from_str(text).map_err(syntax)
}

/// The steps of a platform with a package's own laid over them, checked as a whole.
pub fn steps_of(platform: &Platform, package: &PackageConfig) -> Result<Vec<Step>, PlatformError> {
    let sense = |problem| PlatformError::Sense {
        file: "millrace.toml".to_owned(),
        problem,
    };
    let mut steps = platform.steps.clone();
    // A package may bind its own step tighter than the platform does, and no looser.
    let bound = |step: &Step| Step {
        limits: step.limits.map(|own| own.at_most(platform.limits)),
        ..step.clone()
    };
    steps.extend(package.steps.iter().map(bound));
    for (name, values) in &package.config {
        let Some(step) = steps.iter_mut().find(|step| step.name == *name) else {
            let known = platform
                .steps
                .iter()
                .map(|step| step.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            return Err(sense(format!(
                "`config.{name}` is for a step that platform {} does not have; it has {known}",
                platform.name
            )));
        };
        let is_own = package.steps.iter().any(|own| own.name == *name);
        let fixed = |key: &&String| !is_own && !step.package_may_set.contains(key);
        if let Some(key) = values.keys().find(fixed) {
            return Err(sense(fixed_by_platform(platform, step, key)));
        }
        step.config.extend(values.clone());
    }
    for step in &mut steps {
        step.disk_order |= package.disk_order;
    }
    check_steps(&steps).map_err(sense)?;
    if let Some(step) = package.steps.iter().find(|step| step.releases) {
        return Err(sense(format!(
            "step `{}`: only a platform may say `releases`: it decides what is signed with its key",
            step.name
        )));
    }
    if let Some(step) = package
        .steps
        .iter()
        .find(|step| !step.package_may_set.is_empty())
    {
        return Err(sense(format!(
            "step `{}`: `package_may_set` is for a platform's steps",
            step.name
        )));
    }
    if let Some(step) = package.steps.iter().find(|step| step.network) {
        return Err(sense(format!(
            "step `{}`: only a platform may say `network`: it decides what reaches out of a runner",
            step.name
        )));
    }
    Ok(steps)
}

/// What a package's author is told who would set what a platform fixes.
fn fixed_by_platform(platform: &Platform, step: &Step, key: &str) -> String {
    let may = if step.package_may_set.is_empty() {
        "nothing".to_owned()
    } else {
        step.package_may_set.join(", ")
    };
    format!(
        "`config.{}.{key}`: platform {} lets a package set {may} of this step. Take it out, or ask the platform's keeper for `package_may_set`",
        step.name, platform.name
    )
}

fn check_steps(steps: &[Step]) -> Result<(), String> {
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(format!(
            "{} steps; there must be 1 to {STEPS_MAX}",
            steps.len()
        ));
    }
    let names: BTreeSet<&StepName> = steps.iter().map(|step| &step.name).collect();
    if names.len() < steps.len() {
        return Err("two steps have the same name".to_owned());
    }
    let mut earlier = BTreeSet::new();
    for step in steps {
        if step.requires.features.len() > FEATURES_MAX {
            let count = step.requires.features.len();
            return Err(format!(
                "step `{}` requires {count} features of its machine; it may have {FEATURES_MAX}",
                step.name
            ));
        }
        for need in &step.needs {
            if !names.contains(need) {
                return Err(format!(
                    "step `{}` needs `{need}`, which is no step",
                    step.name
                ));
            }
            if !earlier.contains(need) {
                return Err(format!(
                    "step `{}` needs `{need}`, which comes later: put steps in the order in which they are done",
                    step.name
                ));
            }
        }
        earlier.insert(&step.name);
    }
    Ok(())
}

/// Whether the whole of `text` matches a pattern in which `*` stands for any run of characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices()
                .map(|(at, _)| at)
                .chain([tail.len()])
                .any(|at| matches(rest, &tail[at..]))
        }),
    }
}
