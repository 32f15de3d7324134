//! What may be said on the command line. The texts here are the manual.

use clap::{Args, Parser, Subcommand, ValueEnum};
use millrace_core::hold::hold_s;
use millrace_core::push::Commit;
use millrace_core::queue::Priority;
use millrace_core::task::TaskId;
use millrace_core::{
    Arch, BuildId, FeatureName, KeyName, PackageName, PlatformName, PluginName, ProjectName,
    PushId, RunnerName,
};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Turns a git push into a tested, signed, released RPM.
///
/// `millrace up` runs the whole line on this machine: it takes webhooks from a forge, builds what was pushed, tests it, signs
/// it and releases it into dnf repositories that it serves. The other commands look at the line and set it up; they work on
/// the same state folder, whether the line is up or not.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Where the line keeps everything: state, packages, keys, buildroots. A folder that only its owner can read.
    #[arg(long, global = true, env = "MILLRACE_STATE", value_name = "FOLDER")]
    pub state: Option<PathBuf>,
    /// A line in the cloud.
    #[cfg(feature = "cloud")]
    #[command(flatten)]
    pub cloud: crate::cloud::Cloud,
    /// Print JSON, one object a line for lists, and nothing else on standard output.
    #[arg(long, global = true)]
    pub json: bool,
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
  3  what was named is not there
  4  anything else: the message says who must act
  of shell: that of the shell or the command in the sandbox, where that has ended by itself";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the line: webhooks, builds, tests, signatures, repositories, web pages.
    Up(Up),
    /// Build a package now, as if it had been pushed.
    Build(Build),
    /// Follow a build until it ends: a line a task with its time, and the end of the log where one fails.
    Watch(Watch),
    /// Build again what a build was made from, with other options: the same commit of the same package on the same platform, as a build
    /// of its own. What was otherwise than usual with the first stays so; a clone of a scratch build is one, too.
    Clone {
        /// The build's id, or enough of its first digits.
        build: String,
        /// What is to be otherwise.
        #[command(flatten)]
        wishes: Wishes,
        /// Follow it until it ends.
        #[arg(long)]
        watch: bool,
    },
    /// Print what was in the roots of a build: every package by name, repository, address and digest. `millrace build --lock FILE` builds
    /// again from exactly that.
    Lock {
        /// The build's id, or enough of its first digits.
        build: String,
        /// Write it into this file. [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Build a build again, from exactly the packages that were in its roots, on other runners than those that did it, and say whether
    /// every file came out the same byte by byte; where one did not, what differs. Nothing is released. The exit status is 0 where all
    /// are equal and 1 where not.
    Verify {
        /// The build's id, or enough of its first digits.
        build: String,
        /// Let the runners do it that did it the first time.
        #[arg(long)]
        same_runner: bool,
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
    /// Stop a build whose tasks are not all done. What runs is dropped.
    Cancel {
        /// Its id, or enough of its first digits.
        build: String,
    },
    /// Do tasks again that failed, were quarantined, or were dropped when their build was cancelled. What passed stays as it is, and every
    /// attempt keeps its log.
    Retry {
        /// The build's id, or enough of its first digits.
        build: String,
        /// The task, as `millrace watch` names it (`source`, `rpm@x86_64`). [default: all that came to nothing]
        task: Option<TaskId>,
        /// Hold the sandbox of a task that fails again for so long, for `millrace shell`: `30m`, `1h`, a number of seconds; 8 h at most.
        #[arg(long, value_name = "TIME", value_parser = hold_s)]
        hold: Option<u32>,
    },
    /// Get a terminal in the sandbox in which a task has failed, while it is held: `millrace build PACKAGE --hold 30m`, or `retry` and
    /// `clone` with `--hold`, hold the sandbox of a task that fails.
    ///
    /// It is the sandbox of the command that failed: the same root with what was installed and changed in it, the same /work, user and
    /// environment, no network where the step has none, and the same limits. `sh /work/again.sh` does once more what failed. One person at
    /// a time is let in. Nothing that is done in it changes the build, which has failed.
    ///
    /// `exit` ends the shell, and the sandbox stays held; so does `~.` at the beginning of a line, which works when nothing else does, and
    /// `~~` there types a `~`. The sandbox goes when its time is over, which is announced 5 minutes and 1 minute before, with `--end`, when
    /// its runner leaves or is started anew, and when the runner needs its disk or holds others: four at most. What ended a shell is said
    /// in a line, and whether the sandbox is still there.
    Shell(Shell),
    /// Packages that the line builds.
    #[command(subcommand)]
    Package(Package),
    /// Platforms that packages are built for.
    #[command(subcommand)]
    Platform(Platform),
    /// What is released: a platform's repositories, state by state.
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
    /// Put the records of a line in the cloud back from a table that point-in-time recovery has made. Nothing else may write
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

/// Run the line.
#[derive(Debug, Args)]
pub struct Up {
    /// Where to listen. Whoever reaches it sees the pages and the repositories; only signed webhooks and runners with a token
    /// are listened to.
    #[arg(long, default_value = "127.0.0.1:8470", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Where runners on other machines reach this line, for the packages that it has released: `https://rpms.example.org`.
    /// [default: what it listens on]
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub url: Option<String>,
    /// A folder with plugins (`NAME.wasm`) to register at the start: those that are not there yet, and those that have changed in
    /// the folder since they were registered from it. [default: `plugins` beside this program]
    #[arg(long, value_name = "FOLDER")]
    pub plugins: Option<PathBuf>,
    /// Take no tasks here: only runners from elsewhere build.
    #[arg(long, conflicts_with_all = ["emulate", "trace"])]
    pub no_runner: bool,
    /// Where the runner here keeps buildroots and what runs. It may be removed while nothing runs; the next builds take longer.
    /// [default: `runner` in the state folder]
    #[arg(long, value_name = "FOLDER")]
    pub work: Option<PathBuf>,
    /// How the runner here works.
    #[command(flatten)]
    pub manner: Manner,
    /// Where sources may be fetched from that are not in the lookaside store: a URL with {package}, {name}, {algorithm} and
    /// {digest}. May be given several times; tried in order.
    #[arg(long, value_name = "URL")]
    pub lookaside: Vec<String>,
}

/// How a runner works.
#[derive(Debug, Clone, Default, Args)]
pub struct Manner {
    /// Build for this architecture too, by emulation: qemu runs its programs, several times slower than a machine of their own
    /// would, so that tasks of this machine's own architecture come first. May be given several times. It wants the package
    /// qemu-user-static, and is refused at the start where the kernel does not run such programs.
    #[arg(long, value_name = "ARCH")]
    pub emulate: Vec<Arch>,
    /// Something that this machine has and not every other, for steps that require it; may be given several times. What can be seen
    /// (`kvm`, `secure-boot`) need not be named.
    #[arg(long = "feature", value_name = "NAME")]
    pub features: Vec<FeatureName>,
    /// Write what the plugins ask for into this folder, a line a call: for each task a file BUILD-TASK-LEASE.calls, which nobody
    /// removes. The same plugin on the same task comes to the same lines on every machine.
    #[arg(long, value_name = "FOLDER")]
    pub trace: Option<PathBuf>,
}

/// Build a package now.
#[derive(Debug, Args)]
pub struct Build {
    /// The package.
    pub package: PackageName,
    /// Branch, tag or full reference. [default: what the repository's HEAD points at]
    #[arg(long, value_name = "REF")]
    pub reference: Option<String>,
    /// A commit in the history of the reference, by all its digits. [default: what the reference points at]
    #[arg(long, value_name = "DIGITS", value_parser = commit)]
    pub commit: Option<Commit>,
    /// What is to be otherwise than usual.
    #[command(flatten)]
    pub wishes: Wishes,
    /// Follow it until it ends.
    #[arg(long)]
    pub watch: bool,
}

/// What may be wished for of one build.
#[derive(Debug, Args)]
pub struct Wishes {
    /// How urgent it is: urgent, normal or background. [default: as the package is registered]
    #[arg(long)]
    pub priority: Option<Priority>,
    /// Only on this platform of those that it is built on; may be given several times.
    #[arg(long = "platform", value_name = "NAME")]
    pub platforms: Vec<PlatformName>,
    /// Only on this architecture of the platforms'; may be given several times.
    #[arg(long = "arch", value_name = "ARCH")]
    pub architectures: Vec<Arch>,
    /// A macro over those of the platform, as rpmbuild takes it; may be given several times.
    #[arg(long = "define", value_name = "NAME VALUE", value_parser = definition)]
    pub macros: Vec<(String, String)>,
    /// Only see whether it builds and passes its tests: nothing is signed or released.
    #[arg(long)]
    pub scratch: bool,
    /// Build in roots of exactly the packages that this file names, as `millrace lock` has printed it. Each must still lie where it lay,
    /// with the same bytes, and be signed as the platform asks.
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Hold the sandbox of a task that fails by the package's doing for so long, for `millrace shell`: `30m`, `1h`, a number of seconds; 8 h
    /// at most. The build fails as soon as ever, and the runner takes other tasks meanwhile.
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
    /// Take over from whoever is there: their shell ends, and they are told by whom.
    #[arg(long, conflicts_with = "end")]
    pub take: bool,
    /// Give the sandbox up now, with whoever is in it.
    #[arg(long, conflicts_with = "command")]
    pub end: bool,
    /// Run this in it instead, without a terminal and without input: what it prints comes to standard output, both of its streams, and its
    /// exit status is this command's.
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

/// Packages.
#[derive(Debug, Subcommand)]
pub enum Package {
    /// Register a package: pushes to its repository are built from now on.
    Add {
        /// Its name, as its spec file's.
        name: PackageName,
        /// Where it is cloned from, as the forge's webhooks name it.
        clone_url: String,
        /// Build it only for this platform; may be given several times.
        #[arg(long = "platform")]
        platforms: Vec<PlatformName>,
        /// With which others it shares the runners: none of the projects waits for all that another has. [default: the folder that the
        /// repository lies in]
        #[arg(long)]
        project: Option<ProjectName>,
        /// How urgent its builds are: urgent, normal or background. [default: normal]
        #[arg(long)]
        priority: Option<Priority>,
    },
    /// List registered packages.
    List,
    /// Put source files into the lookaside store, from which `sources` and `.<name>.metadata` are served.
    Upload {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Platforms.
#[derive(Debug, Subcommand)]
pub enum Platform {
    /// Add a platform, or replace it: builds that are planned keep the one that they have.
    Add {
        /// A TOML file.
        file: PathBuf,
    },
    /// List platforms.
    List,
    /// Print a platform.
    Show {
        /// Which.
        name: PlatformName,
    },
}

/// Releases.
#[derive(Debug, Subcommand)]
pub enum Release {
    /// List a platform's generations, the newest first: number, time, how many packages, and the builds that came in. The newest
    /// is what everybody reads.
    List {
        /// Whose.
        platform: PlatformName,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Put the packages of an earlier generation in place of what is released. That makes a generation of its own, so it can be
    /// taken back in the same way; where the packages are those already, nothing is changed.
    Rollback {
        /// Whose.
        platform: PlatformName,
        /// The generation's number, as `millrace release list` prints it.
        number: u64,
    },
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Algorithm {
    /// RSA with 4096 bits: what every rpm from EL8 on can check.
    Rsa4096,
    /// Ed25519: small and quick; rpm from EL9 on.
    Ed25519,
}

/// Keys.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a signing key. The private half never leaves the state folder; of a line in the cloud, the secret that it is put into.
    Create {
        /// Its name, as platforms name it.
        name: KeyName,
        /// Whose it is, as people see it in `rpm -q gpg-pubkey`.
        #[arg(long, default_value = "millrace <packages@localhost>")]
        user_id: String,
        /// What kind.
        #[arg(long, value_enum, default_value = "rsa4096")]
        algorithm: Algorithm,
    },
    /// Bring a signing key that there is already, as `gpg --export-secret-keys ID` writes it: RSA or Ed25519, of version 4, whose
    /// primary key signs. It is put into the state folder; of a line in the cloud, into its secret, and onto no disk.
    Import {
        /// Its name, as platforms name it.
        name: KeyName,
        /// A file with the key; `-` reads it from standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// A file whose first line is the key's password. It is taken off: the line signs while nobody is there to be asked.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List keys.
    List,
    /// Print a key's public certificate, for `rpmkeys --import`.
    Show {
        /// Which.
        name: KeyName,
    },
}

/// Runners.
#[derive(Debug, Subcommand)]
pub enum Runner {
    /// Let a runner in: prints the one line to run on its machine. The token is shown once and kept only as a digest.
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
        /// The token is for any number of machines, as hosts that come and go have one between them. Each calls itself by this
        /// name, a dot, and something of its own.
        #[arg(long, requires = "name")]
        shared: bool,
        /// It may build for this architecture too, by emulation. May be given several times.
        #[arg(long, value_name = "ARCH")]
        emulate: Vec<Arch>,
    },
    /// List runners.
    List,
    /// Take a runner's token back. What it has leased goes to another within a minute.
    Remove {
        /// Which.
        name: RunnerName,
    },
    /// Let a runner leave: it is given no more tasks, finishes the one that it has, and ends.
    Drain {
        /// Which; of runners that share a token also one of them (`NAME.SOMETHING`).
        name: RunnerName,
        /// Hand back what it works on, for another to begin anew, instead of finishing it.
        #[arg(long)]
        hand_back: bool,
    },
    /// Let a runner stay, or come back, that was to leave.
    Resume {
        /// Which.
        name: RunnerName,
    },
    /// Keep a runner for some tasks; without options it is there for all again. Holds from its next task on.
    Reserve {
        /// Which.
        name: RunnerName,
        /// Only for tasks of its own architecture, not for those that any runner may do.
        #[arg(long)]
        own_arch: bool,
        /// Only for this project; may be given several times.
        #[arg(long = "project", value_name = "NAME")]
        projects: Vec<ProjectName>,
        /// Only for what is at least as urgent.
        #[arg(long, value_name = "PRIORITY")]
        at_least: Option<Priority>,
    },
    /// Say which protections this machine gives to runners: a line for each that a sandbox was built for and looked at, and what
    /// follows or what to install where one is missing. As an ordinary user it tries to be root of a user namespace, as a runner would.
    Doctor {
        /// A line, whose clock is compared with this machine's.
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
        /// This machine is a spare one of EC2: when it is about to be taken back, hand back what is at hand and end.
        #[arg(long)]
        spot: bool,
        /// How it works.
        #[command(flatten)]
        manner: Manner,
    },
}

/// Plugins.
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Register a plugin, or replace it: builds that are planned keep the one that they have.
    Add {
        /// Its name, as steps name it.
        name: PluginName,
        /// A WebAssembly component.
        file: PathBuf,
    },
    /// List plugins.
    List,
}

/// A commit, whole.
fn commit(text: &str) -> Result<Commit, String> {
    Commit::new(&text.to_lowercase()).map_err(|error| error.to_string())
}

/// A macro's name and its value.
fn definition(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((text.trim(), ""));
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name.len() > 2;
    match plain {
        true => Ok((name.to_owned(), value.trim().to_owned())),
        false => Err("it is a name of letters, digits and `_`, a space, and a value: `--define 'with_tests 1'`".to_owned()),
    }
}

/// A URL that paths are appended to.
fn base_url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['?', '#', ' ']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        Some(_) | None => Err("it begins with http:// or https:// and names a host".to_owned()),
    }
}

/// The beginning of an id, or all of it.
pub fn is_whole(id: &str) -> Option<BuildId> {
    (id.len() == 12).then(|| id.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_paths_are_appended_to_names_a_host() {
        assert_eq!(
            base_url("https://rpms.example.org/").as_deref(),
            Ok("https://rpms.example.org")
        );
        assert_eq!(
            base_url("http://10.0.0.7:8470").as_deref(),
            Ok("http://10.0.0.7:8470")
        );
        assert!(
            [
                "rpms.example.org",
                "https://",
                "http:///",
                "https://x.example/?a"
            ]
            .into_iter()
            .all(|text| base_url(text).is_err())
        );
    }
}

/// Messages.
#[derive(Debug, Subcommand)]
pub enum Messages {
    /// List messages that nobody has settled yet, with how often each was delivered. On a line that works well there are none for long.
    List,
    /// Deliver messages again now, as if they had never been delivered: for when what was wrong is mended.
    Retry {
        /// Their numbers, as `messages list` shows them. [default: all that were delivered before]
        messages: Vec<u64>,
    },
}
