//! What roots begin with if that is no repository, as records call it.

use super::recipe::Recipe;
use millrace_core::platform::Provider;
use std::fs;

/// What roots are made from if that is no repository.
pub(super) fn origin(recipe: &Recipe) -> Option<String> {
    match recipe.buildroot.provider {
        Provider::Dnf => None,
        Provider::Rootfs => Some(archive_name(recipe)),
        Provider::Mock => Some(format!("mock {}", mock_config(recipe))),
        Provider::Host => Some(host_name()),
    }
}

/// The name of mock's configuration or its path on this machine.
pub(super) fn mock_config(recipe: &Recipe) -> String {
    recipe.filled(recipe.buildroot.config.as_deref().unwrap_or_default())
}

/// What a root that somebody has made is called in records.
pub(super) fn archive_name(recipe: &Recipe) -> String {
    match &recipe.buildroot.image {
        Some(image) => format!(
            "image {}",
            image
                .split_once('@')
                .map_or(image.as_str(), |(_, digest)| digest)
        ),
        None => {
            let archive = recipe
                .buildroot
                .archives
                .iter()
                .find(|archive| archive.arch == recipe.arch);
            archive.map_or_else(
                || "archive".to_owned(),
                |archive| format!("archive {}", archive.digest),
            )
        }
    }
}

/// What it is: `host Debian GNU/Linux 12 (bookworm)` (os-release(5)).
pub(super) fn host_name() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let named = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!(
        "host {}",
        named.map_or("of an unknown distribution", |name| name.trim_matches('"'))
    )
}
