//! What may be given on the command line. The texts here are the manual.

mod build;
mod runner;
mod setup;
mod values;

pub use build::{Build, BuildFlags, Builds, Logs, Retry, Shell, Watch};
pub use runner::{Runner, RunnerOptions, Up};
pub use setup::{Algorithm, Key, Messages, NameOfPackage, Package, Platform, Plugin, Release};
pub use values::LogFormat;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Turns a git push into a tested, signed, released RPM.
///
/// `millrace up` runs the whole line on this machine: it takes webhooks from a forge, builds what was pushed, tests it, signs
/// it and releases it into dnf repositories that it serves. The other commands look at the line and set it up; they work on
/// the same state folder, whether the line is up or not.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Where the line keeps everything: state, packages, keys, buildroots. Only the folder's owner can read it.
    #[arg(long, global = true, env = "MILLRACE_STATE", value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// A line in the cloud.
    #[cfg(feature = "cloud")]
    #[command(flatten)]
    pub cloud: crate::cloud::Cloud,
    /// Print JSON and nothing else on standard output; a list has one object per line.
    #[arg(long, global = true)]
    pub json: bool,
    /// How the log is written, which goes to standard error: one line per event for people, or one JSON object with the ids of build,
    /// task, lease, order and message for programs. MILLRACE_LOG says which levels: error, warn, info (usual of `up` and `runner run`),
    /// debug or trace, also by module: `info,millrace_signer=debug`.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Lines, value_name = "FORMAT", hide_default_value = true)]
    pub log: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
First steps:
  millrace key create default
  millrace up                                      (leave it running; the rest in another terminal)
  millrace platform add infra/platforms/almalinux-9.toml
  millrace package add zlib https://git.example.org/rpms/zlib.git
  millrace build zlib --watch

Exit status:
  0  done; with --watch: released
  1  with --watch: the build failed, was cancelled or is excluded; runner doctor: no task may run on this machine
  2  the command line makes no sense
  3  what was named does not exist
  4  anything else: the message says who must act
  of shell: that of the shell or the command in the sandbox, if that has ended by itself";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the line: webhooks, builds, tests, signatures, repositories, web pages.
    Up(Up),
    /// Build a package now, as if it had been pushed.
    Build(Build),
    /// Follow a build until it ends: one line per task, with its duration, and the end of the log of a task that fails.
    Watch(Watch),
    /// Build the same commit of the same package on the same platform again, as a new build, with other options. Options of the first
    /// build hold unless you give others; the clone of a scratch build is a scratch build.
    Clone {
        /// The build's id, or enough of its first digits.
        build: String,
        /// What to change.
        #[command(flatten)]
        options: BuildFlags,
        /// Follow it until it ends.
        #[arg(long)]
        watch: bool,
    },
    /// Print what was in the roots of a build: the name, repository, address and digest of every package. `millrace build --lock FILE`
    /// builds again from exactly that.
    Lock {
        /// The build's id, or enough of its first digits.
        build: String,
        /// Write it into this file. [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Repeat a build from exactly the packages that were in its roots, on other runners than those that did it, and compare every file
    /// byte by byte. Prints what differs and releases nothing. The exit status is 0 if all files are equal, else 1.
    Verify {
        /// The build's id, or enough of its first digits.
        build: String,
        /// Let the same runners do it again.
        #[arg(long)]
        same_runner: bool,
    },
    /// List the builds that had a package in their roots: what to build again if that package was bad.
    Impact {
        /// `NAME-VERSION-RELEASE`, with or without `.ARCH`; an epoch stands before the version, as in `bash-1:5.2-3`.
        nevra: String,
        /// Also those that were built with what such a build made, and so on.
        #[arg(long)]
        transitive: bool,
    },
    /// List the tasks that wait for a runner, in the order in which they are taken: how long each will wait, and for what.
    Queue {
        /// How many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Print a task's log.
    Logs(Logs),
    /// List builds, the newest first.
    Builds(Builds),
    /// Cancel a build whose tasks are not all done. Tasks that run are stopped.
    Cancel {
        /// Its id, or enough of its first digits.
        build: String,
    },
    /// Repeat tasks that failed, were quarantined, or were dropped when their build was cancelled. What passed stays as it is, and every
    /// attempt keeps its log.
    Retry(Retry),
    /// Get a terminal in the sandbox in which a task has failed, while it is held: `millrace build PACKAGE --hold 30m`, or `retry` and
    /// `clone` with `--hold`, hold the sandbox of a task that fails.
    ///
    /// It is the sandbox of the command that failed: the same root with what was installed and changed in it, the same /work, user and
    /// environment, no network if the step has none, and the same limits. `sh /work/again.sh` repeats what failed. One person at a time
    /// is let in. Nothing that you do in it changes the build, which has failed.
    ///
    /// `exit` ends the shell, and the sandbox stays held; so does `~.` at the beginning of a line, which works when nothing else does, and
    /// `~~` there types a `~`. The sandbox is given up when its time is over, which is announced 5 minutes and 1 minute before, with
    /// `--end`, when its runner ends or restarts, and when the runner needs its disk or holds more than four others. At the end of a
    /// shell, one line says why it ended and whether the sandbox is still held.
    Shell(Shell),
    /// Packages that the line builds.
    #[command(subcommand)]
    Package(Package),
    /// Platforms that packages are built for.
    #[command(subcommand)]
    Platform(Platform),
    /// What is released: a platform's repositories, generation by generation.
    #[command(subcommand)]
    Release(Release),
    /// Signing keys.
    #[command(subcommand)]
    Key(Key),
    /// Runners that build.
    #[command(subcommand)]
    Runner(Runner),
    /// Plugins that do the steps of a platform.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Restore the records of a line in the cloud from a table that point-in-time recovery has made. Nothing else may write
    /// meanwhile: let no webhooks in, and stop the runners.
    #[cfg(feature = "cloud")]
    Restore {
        /// The table that was restored.
        #[arg(long, value_name = "NAME")]
        from_table: String,
    },
    /// Messages on their way: what one part of the line wants of another.
    #[command(subcommand)]
    Messages(Messages),
    /// The earlier name of `messages`.
    #[command(subcommand, hide = true)]
    Events(Messages),
}
