//! What the tasks of a runner share: the line, and what makes roots and runs commands on this machine.

use crate::buildroot::Buildroots;
use crate::line::client::Desk;
use crate::sandbox::Sandbox;
use millrace_core::Arch;
use std::path::PathBuf;

/// What the host does its part for plugins with.
pub struct HostServices {
    pub desk: Desk,
    pub sandbox: Sandbox,
    pub buildroots: Buildroots,
    /// What is built for here.
    pub arch: Arch,
    /// The folder for records of what plugins ask for, if somebody wants them.
    pub traces: Option<PathBuf>,
}
