//! `cargo xtask chaos`: builds, and lets the program of `tests/chaos` play where it finds what it needs.

use crate::command::shown;
use crate::folders::Folders;
use crate::{build, root, setup, test};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// The manual.
pub const HELP: &str = "\
cargo xtask chaos: plays the line with everything that goes wrong, with real processes

Usage: cargo xtask chaos [OPTIONS]

It starts lines, each with three runners in networks of their own, and plays rounds. In each, one or two small packages are pushed: some
that are to be released, some that are to fail or to be cancelled, one that leaves processes running. Meanwhile up to three things go wrong:

  kill -9          of a runner, of a sandbox's launcher or first process, of the line; what a service manager starts again comes back
  network          a runner's link is down for seconds, or for longer than a lease; requests and answers between runners and the lease
                   desk wait, overtake each other, break off, are lost, or are made twice (by a proxy: the same on every kernel)
  SIGSTOP          of a runner for seconds, or for longer than a lease
  full disks       of a runner, and of the line
  clocks           of a runner or of the line, which jump by hours, and back (libfaketime)

When all builds of a round have ended, these invariants are checked: each build ended as its package should; no machine's death is a
package's failure; a lease that ended without an answer is one that something happened to; no task has two accepted answers; the repositories
have what was released, each file once, whole and signed; and no process, mount, control group or file of a sandbox is left.

What goes wrong when follows from the seed and the round's number; what it meets depends on the machine, too.

Options:
      --rounds N   how many [default: 50]
      --seed N     what everything follows from [default: a new one, which is printed]
      --round K    play this round alone, as often as --rounds says [default then: once]
      --at-once N  lines at the same time, which share the rounds; they wait more than they work [default: 4]
      --short      nothing that keeps anybody waiting for the end of a lease: ten seconds a round
  -y, --yes        do not ask before installing packages
  -h, --help       this text

It runs as root (cargo xtask asks sudo), touches nothing but its folder in the cache, and may be played beside a line that works: names and
addresses are in namespaces of its own, which end with it, also by Ctrl-C or kill -9. It builds for the seed distribution, or another platform
whose repositories are files: nothing in there reaches the network.

Exit status: 0 all invariants held; 1 one was broken, or it could not be played: the message says where the logs are; 2 the command line makes no
sense; 130 Ctrl-C.
";

/// Plays; the words are the program's.
pub fn chaos(folders: &Folders, yes: bool, words: &[String]) -> Result<()> {
    setup::set_up(folders, setup::Purpose::Chaos, yes)?;
    build::workspace(folders, false)?;
    build::guests(folders)?;
    root::ask_once_for_all()?;
    let mut command = Command::new(folders.own_copy()?);
    command
        .arg(root::VERB)
        .arg(folders.target.join("debug/chaos"))
        .args(words);
    test::environment(folders, &mut command)?;
    shown(command.stdin(Stdio::null()))
        .context("not all was as it should be: what went wrong is above")
}
