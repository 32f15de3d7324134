//! Builds: ask for them, follow them, repeat them, look into them.

use super::values::{commit, definition};
use clap::Args;
use millrace_core::hold::hold_s;
use millrace_core::push::Commit;
use millrace_core::queue::Priority;
use millrace_core::task::TaskId;
use millrace_core::{Arch, PackageName, PlatformName, PushId};
use std::path::PathBuf;

/// Build a package now.
#[derive(Debug, Args)]
pub struct Build {
    /// The package.
    pub package: PackageName,
    /// Branch, tag or full reference. [default: what the repository's HEAD points at]
    #[arg(long, value_name = "REF")]
    pub reference: Option<String>,
    /// A commit in the history of the reference, with all its digits. [default: what the reference points at]
    #[arg(long, value_name = "DIGITS", value_parser = commit)]
    pub commit: Option<Commit>,
    /// How to build it.
    #[command(flatten)]
    pub options: BuildFlags,
    /// Follow it until it ends.
    #[arg(long)]
    pub watch: bool,
}

/// Options of one build.
#[derive(Debug, Args)]
pub struct BuildFlags {
    /// How urgent it is: urgent, normal or background. [default: as the package is registered]
    #[arg(long)]
    pub priority: Option<Priority>,
    /// Build only on this one of its platforms; may be given several times.
    #[arg(long = "platform", value_name = "NAME")]
    pub platforms: Vec<PlatformName>,
    /// Build only on this one of the platforms' architectures; may be given several times.
    #[arg(long = "arch", value_name = "ARCH")]
    pub architectures: Vec<Arch>,
    /// Define a macro, over those of the platform, as rpmbuild does; may be given several times.
    #[arg(long = "define", value_name = "NAME VALUE", value_parser = definition)]
    pub macros: Vec<(String, String)>,
    /// Only see whether it builds and passes its tests: nothing is signed or released.
    #[arg(long)]
    pub scratch: bool,
    /// Build in roots of exactly the packages in this file, which `millrace lock` has printed. Each must still be at its address, with
    /// the same bytes, and be signed as the platform asks.
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// If a task fails because of the package, hold its sandbox for so long, for `millrace shell`: `30m`, `1h`, a number of seconds; 8 h
    /// at most. The build fails at once all the same, and the runner takes other tasks meanwhile.
    #[arg(long, value_name = "TIME", value_parser = hold_s)]
    pub hold: Option<u32>,
}

/// Repeat tasks.
#[derive(Debug, Args)]
pub struct Retry {
    /// The build's id, or enough of its first digits.
    pub build: String,
    /// The task, as `millrace watch` names it (`source`, `rpm@x86_64`). [default: all that failed, were quarantined or dropped]
    pub task: Option<TaskId>,
    /// Hold the sandbox of a task that fails again for so long, for `millrace shell`: `30m`, `1h`, a number of seconds; 8 h at most.
    #[arg(long, value_name = "TIME", value_parser = hold_s)]
    pub hold: Option<u32>,
}

/// Get a terminal in a held sandbox.
#[derive(Debug, Args)]
pub struct Shell {
    /// The build's id, or enough of its first digits.
    pub build: String,
    /// The task, as `millrace watch` names it (`source`, `rpm@x86_64`). [default: the one whose sandbox is held]
    pub task: Option<TaskId>,
    /// Take over from the person who is in it: their shell ends, and they are told who took over.
    #[arg(long, conflicts_with = "end")]
    pub take: bool,
    /// Give the sandbox up now, and end the shell of anybody who is in it.
    #[arg(long, conflicts_with = "command")]
    pub end: bool,
    /// Run this in it instead, without a terminal and without input: its output and errors come to standard output, and its exit status
    /// is this command's.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Follow a build.
#[derive(Debug, Args)]
pub struct Watch {
    /// The build's id, or enough of its first digits. [default: the newest]
    pub build: Option<String>,
    /// Follow the builds of a push.
    #[arg(long, conflicts_with = "build")]
    pub push: Option<PushId>,
    /// Follow the builds of a commit; waits until the line has heard of it.
    #[arg(long, conflicts_with_all = ["build", "push"], value_name = "DIGITS")]
    pub commit: Option<String>,
}

/// Print a log.
#[derive(Debug, Args)]
pub struct Logs {
    /// The build's id, or enough of its first digits.
    pub build: String,
    /// The task, as `millrace watch` names it (`source`, `rpm@x86_64`).
    pub task: TaskId,
    /// Which attempt. [default: the last]
    #[arg(long, value_name = "NUMBER")]
    pub attempt: Option<u32>,
    /// Go on until the task ends.
    #[arg(long, short)]
    pub follow: bool,
}

/// List builds.
#[derive(Debug, Args)]
pub struct Builds {
    /// Only of this package.
    #[arg(long)]
    pub package: Option<PackageName>,
    /// How many.
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}
