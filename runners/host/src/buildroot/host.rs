//! The machine as it is, for trying things: its programs, to be read only, and nothing else of it.

use super::root::{Ground, Root};
use millrace_core::roots::{self, RootKind};
use std::fs;

/// A root that is the machine.
pub(super) fn root(kind: RootKind) -> Root {
    Root {
        ground: Ground::Machine,
        record: roots::Root {
            kind,
            from: Some(name()),
            packages: Vec::new(),
        },
    }
}

/// What it is: `host Debian GNU/Linux 12 (bookworm)` (os-release(5)).
pub(super) fn name() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let named = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!(
        "host {}",
        named.map_or("of an unknown distribution", |name| name.trim_matches('"'))
    )
}
