//! What the launcher is told: everything that it does, decided beforehand.

use super::cgroup::Cgroup;
use super::command::Command;
use super::view::View;
use millrace_core::hold::Size;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The ordinary user of a sandbox, as mock has it.
pub(super) const USER: u32 = 1000;

/// What the launcher is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LaunchPlan {
    /// The process that wants it done, as the launcher sees it.
    pub(super) host: i32,
    pub(super) view: View,
    /// An empty folder for the new root.
    pub(super) mount: PathBuf,
    pub(super) work: PathBuf,
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: String,
    pub(super) as_root: bool,
    pub(super) network: bool,
    /// Whether folders list their files in the same order on every machine.
    pub(super) ordered: bool,
    /// Whether it looks around instead of running anything.
    pub(super) look: bool,
    /// The size of the terminal that the command gets; the other end of it goes to the host through standard input, a socket then.
    pub(super) terminal: Option<Size>,
    /// The control groups that the first process goes into.
    pub(super) cgroups: Vec<PathBuf>,
    /// Of each process, if no control group bounds them together.
    pub(super) memory_bytes: Option<u64>,
    /// Of the user, if no control group bounds them.
    pub(super) processes: Option<u64>,
    pub(super) file_bytes: u64,
}

impl LaunchPlan {
    pub(super) fn of(
        command: &Command<'_>,
        terminal: Option<Size>,
        scratch: &Path,
        cgroup: &Cgroup,
    ) -> Self {
        let home = if command.as_root {
            "/root"
        } else {
            "/builddir"
        };
        let clean = [
            ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
            ("HOME", home),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("TERM", "dumb"),
        ];
        let mut env: Vec<(String, String)> = clean
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        env.retain(|(name, _)| !command.env.iter().any(|(own, _)| own == name));
        env.extend(command.env.iter().cloned());
        Self {
            host: nix::unistd::getpid().as_raw(),
            view: command.view.clone(),
            mount: scratch.to_owned(),
            work: command.work.to_owned(),
            argv: command.argv.clone(),
            env,
            cwd: command.cwd.clone(),
            as_root: command.as_root,
            network: command.options.network,
            ordered: !command.options.disk_order && !matches!(command.view, View::Host { .. }),
            look: command.argv.is_empty(),
            terminal,
            cgroups: cgroup.folders().to_vec(),
            memory_bytes: (!cgroup.memory).then_some(command.options.limits.memory_bytes),
            processes: (!cgroup.processes).then_some(u64::from(command.options.limits.processes)),
            file_bytes: command.options.limits.disk_bytes,
        }
    }
}
