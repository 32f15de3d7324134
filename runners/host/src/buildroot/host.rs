//! The machine as it is, for trying things: its programs, to be read only, and nothing else of it.

use super::origin::host_name;
use super::root::{Root, RootBase};
use millrace_core::roots::{self, RootKind};

/// A root that is the machine.
pub(super) fn root(kind: RootKind) -> Root {
    Root {
        base: RootBase::Machine,
        record: roots::Root {
            kind,
            from: Some(host_name()),
            packages: Vec::new(),
        },
    }
}
