//! What a command takes for the machine.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Read-only folders under a writable one, seen as one file system (overlayfs).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The upper ones first.
    pub lowers: Vec<PathBuf>,
    /// What is changed lands here.
    pub upper: PathBuf,
    /// An empty folder on the same file system, which the kernel needs.
    pub scratch: PathBuf,
}

/// What a command takes for the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// A root of its own.
    Root(Overlay),
    /// The programs of this machine as a root of its own, and the task's folder in it. What packages it has may be asked of rpm.
    Machine,
    /// The programs of this machine, and of its folders only those that are named, each at its own place. A root is mounted at a place
    /// in it, to be worked on from outside.
    Host {
        /// Folders that may be read.
        readable: Vec<PathBuf>,
        /// Folders that may be written to.
        writable: Vec<PathBuf>,
        /// A root, and where it is seen.
        root: Option<(Overlay, PathBuf)>,
        /// What is seen at another place than its own, in the root if it says so.
        elsewhere: Vec<(Shown, PathBuf)>,
    },
}

/// How a folder is seen at another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// As it is: what is written lands in it.
    Itself(PathBuf),
    /// Never changed: what is written lands in the upper folder.
    Under(Overlay),
}
