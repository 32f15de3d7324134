//! Platforms, as they are shown.

use millrace_core::platform::{Platform, Repository, Requires, Step, StepScope};
use millrace_core::{Arch, KeyName, PlatformName, PluginName, StepName};
use serde::Serialize;
use std::collections::BTreeMap;

/// A platform.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlatformView {
    pub name: PlatformName,
    /// What it is, for people.
    pub title: String,
    /// Where packages are built.
    pub architectures: Vec<Arch>,
    /// Patterns of references that are built; empty for all.
    pub branches: Vec<String>,
    /// `releasever` for dnf.
    pub releasever: String,
    /// The signing key of what is released.
    pub key: KeyName,
    /// RPM macros that every build sets.
    pub macros: BTreeMap<String, String>,
    /// Where build dependencies come from.
    pub repositories: Vec<RepositoryView>,
    /// What a root begins with that packages are built in.
    pub buildroot: Vec<String>,
    /// What is done to a push, in order.
    pub steps: Vec<StepView>,
    /// Path of the file for `/etc/yum.repos.d`; there once something was released.
    pub repo_file: String,
    /// Path of the public key.
    pub key_file: String,
}

/// A repository that roots are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepositoryView {
    pub id: String,
    /// Where it or the list of its mirrors lies, without a password.
    pub url: String,
    /// Whether its packages' signatures are checked.
    pub checked: bool,
    /// dnf's priority: the lowest wins.
    pub priority: u32,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepView {
    pub name: StepName,
    /// The plugin that does it.
    pub plugin: PluginName,
    /// `once`, `build-arch` or `each-arch`.
    pub on: StepScope,
    /// Steps that must have passed before.
    pub needs: Vec<StepName>,
    /// Whether what it hands over is signed and released.
    pub releases: bool,
    /// Whether its commands reach the machine's network.
    pub network: bool,
    /// Whether folders list their files as the disk has them.
    pub disk_order: bool,
    /// What its machine must have.
    pub requires: Requires,
    /// What the plugin is told.
    pub config: BTreeMap<String, serde_json::Value>,
}

impl PlatformView {
    /// What is shown of a platform.
    pub fn of(platform: &Platform) -> Self {
        let Platform {
            name,
            title,
            architectures,
            branches,
            releasever,
            key,
            macros,
            ..
        } = platform.clone();
        Self {
            repo_file: format!("/repo/{name}/{name}.repo"),
            key_file: format!("/repo/{name}/RPM-GPG-KEY-millrace"),
            repositories: platform.repositories.iter().map(repository).collect(),
            buildroot: platform.buildroot.packages.clone(),
            steps: platform.steps.iter().map(step).collect(),
            name,
            title,
            architectures,
            branches,
            releasever,
            key,
            macros,
        }
    }
}

fn repository(repository: &Repository) -> RepositoryView {
    let url = repository
        .baseurl
        .as_deref()
        .or(repository.mirrorlist.as_deref())
        .unwrap_or_default();
    RepositoryView {
        id: repository.id.clone(),
        url: without_password(url),
        checked: repository.gpgkey.is_some(),
        priority: repository.priority,
    }
}

fn step(step: &Step) -> StepView {
    let Step {
        name,
        plugin,
        on,
        needs,
        releases,
        network,
        disk_order,
        requires,
        config,
        ..
    } = step.clone();
    StepView {
        name,
        plugin,
        on,
        needs,
        releases,
        network,
        disk_order,
        requires,
        config,
    }
}

/// A URL without the user and password that it may have: everybody may read the pages.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(
            without_password("https://dana:hunter2@repo.example:8443/el9/@x"),
            "https://repo.example:8443/el9/@x"
        );
        assert_eq!(
            without_password("https://repo.example/el9/a@b/"),
            "https://repo.example/el9/a@b/"
        );
        assert_eq!(without_password("/srv/git/a@b"), "/srv/git/a@b");
    }
}
