//! The line itself, and its runners.

use super::values::base_url;
use clap::{Args, Subcommand};
use millrace_core::queue::Priority;
use millrace_core::{Arch, FeatureName, ProjectName, RunnerName};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Run the line.
#[derive(Debug, Args)]
pub struct Up {
    /// Where to listen. Everybody who can reach it sees the pages and the repositories; it acts only on signed webhooks and on
    /// runners with a token.
    #[arg(long, default_value = "127.0.0.1:8470", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Where people, forges and runners on other machines reach this line: `https://rpms.example.org`. The line answers to this name, to
    /// what it listens on and to localhost, and to no other. [default: what it listens on]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub url: Option<String>,
    /// A folder with plugins (`NAME.wasm`) to register at the start: those that are new, and those that have changed in the folder
    /// since they were registered from it. [default: `plugins` beside this program]
    #[arg(long, value_name = "FOLDER")]
    pub plugins: Option<PathBuf>,
    /// Take no tasks here: only runners on other machines build.
    #[arg(long, conflicts_with_all = ["emulate", "trace"])]
    pub no_runner: bool,
    /// Where the runner here keeps buildroots and what runs. You may remove it while nothing runs; the next builds take longer.
    /// [default: `runner` in the state folder]
    #[arg(long, value_name = "FOLDER")]
    pub work: Option<PathBuf>,
    /// How the runner here works.
    #[command(flatten)]
    pub manner: RunnerOptions,
    /// Where sources may be fetched from that are not in the lookaside store: a URL with {package}, {name}, {algorithm} and
    /// {digest}. May be given several times; tried in order.
    #[arg(long, value_name = "URL")]
    pub lookaside: Vec<String>,
}

/// How a runner works.
#[derive(Debug, Clone, Default, Args)]
pub struct RunnerOptions {
    /// Build for this architecture too, by emulation: qemu runs its programs, several times slower than a machine of that architecture
    /// would, so tasks of this machine's own architecture come first. May be given several times. It needs the package
    /// qemu-user-static; the runner does not start if the kernel cannot run such programs.
    #[arg(long, value_name = "ARCH")]
    pub emulate: Vec<Arch>,
    /// Something that this machine has and not every other, for steps that require it; may be given several times. The runner sees by
    /// itself whether it has `kvm` and `secure-boot`.
    #[arg(long = "feature", value_name = "NAME")]
    pub features: Vec<FeatureName>,
    /// Write what the plugins ask for into this folder, one line per call: each task has a file BUILD-TASK-LEASE.calls, which nobody
    /// removes. The same plugin on the same task writes the same lines on every machine.
    #[arg(long, value_name = "FOLDER")]
    pub trace: Option<PathBuf>,
}

/// Runners.
#[derive(Debug, Subcommand)]
pub enum Runner {
    /// Let a runner in: prints the one line to run on its machine. The token is shown once; the line keeps only its digest.
    Add {
        /// Its name. [default: its architecture and a number]
        name: Option<RunnerName>,
        /// Its architecture.
        #[arg(long)]
        arch: Arch,
        /// Where it reaches this line.
        #[arg(
            long,
            default_value = "http://127.0.0.1:8470",
            env = "MILLRACE_DESK",
            value_name = "URL"
        )]
        url: String,
        /// Make the token good for any number of machines, for hosts that come and go. Each calls itself by this name, a dot, and
        /// something of its own.
        #[arg(long, requires = "name")]
        shared: bool,
        /// It may build for this architecture too, by emulation. May be given several times.
        #[arg(long, value_name = "ARCH")]
        emulate: Vec<Arch>,
    },
    /// List runners.
    List,
    /// Remove a runner: its token is no longer good, and what it has leased goes to another within a minute.
    Remove {
        /// Which.
        name: RunnerName,
    },
    /// Drain a runner: it gets no more tasks, finishes the one that it has, and ends.
    Drain {
        /// Which; of runners that share a token also one of them (`NAME.SOMETHING`).
        name: RunnerName,
        /// Hand back what it works on, so that another begins it again, instead of finishing it.
        #[arg(long)]
        hand_back: bool,
    },
    /// Give a draining runner tasks again.
    Resume {
        /// Which.
        name: RunnerName,
    },
    /// Reserve a runner for some tasks; without options it takes all again. Holds from its next task on.
    Reserve {
        /// Which.
        name: RunnerName,
        /// Only for tasks of its own architecture, not for those that any runner may do.
        #[arg(long)]
        own_arch: bool,
        /// Only for this project; may be given several times.
        #[arg(long = "project", value_name = "NAME")]
        projects: Vec<ProjectName>,
        /// Only for tasks that are at least this urgent.
        #[arg(long, value_name = "PRIORITY")]
        at_least: Option<Priority>,
    },
    /// Check whether tasks may run on this machine: builds a sandbox and prints one line per protection, with what to install if one is
    /// missing. As an ordinary user it tries to be root of a user namespace, as a runner would.
    Doctor {
        /// A line; its clock is compared with this machine's.
        #[arg(long, value_name = "URL", value_parser = base_url)]
        url: Option<String>,
        /// Where the runner would keep roots and tasks. [default: `runner` in the state folder]
        #[arg(long, value_name = "FOLDER")]
        work: Option<PathBuf>,
    },
    /// Be a runner: take tasks from a line until stopped. As root, or as an ordinary user with ids in /etc/subuid and /etc/subgid.
    Run {
        /// Its name.
        name: RunnerName,
        /// Where the line is.
        #[arg(long, value_name = "URL")]
        url: String,
        /// A file with the token; `-` reads it from standard input.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// This machine is a spot instance of EC2: before it is taken back, hand back the task that runs and end.
        #[arg(long)]
        spot: bool,
        /// How it works.
        #[command(flatten)]
        manner: RunnerOptions,
    },
}
