//! Chaos in short: a few rounds that are the same each time, and what is left of a run that is ended early. `cargo xtask chaos` plays more.

use millrace_tests::up::{TestSetup, processes_with};
use millrace_tests::wait::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// With this seed three rounds have every trouble that keeps nobody waiting for a minute. These are kill -9 of a runner and of the line, a
/// cut link, muddled ways, a frozen runner, a full disk, and clocks that jump.
const SEED: &str = "2590";

fn chaos(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command
        .args(words)
        .args(["--short", "--seed", SEED])
        .stdin(Stdio::null());
    command
}

#[test]
fn three_rounds_of_chaos_break_no_invariant() {
    let Output {
        status,
        stdout,
        stderr,
    } = chaos(&["--rounds", "3", "--at-once", "3"])
        .output()
        .unwrap();
    let (told, problems) = (
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{status}\n{told}\n{problems}");
    println!("{told}");
}

/// A run that has come as far as runners that work.
struct Run {
    child: Child,
    folder: PathBuf,
}

impl Run {
    fn start() -> Self {
        let child = chaos(&["--rounds", "20", "--at-once", "1"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let folder = TestSetup::here()
            .work
            .join("chaos")
            .join(child.id().to_string());
        let run = Self { child, folder };
        run.wait_for("a runner", |run| processes_with(&run.runner()) > 0);
        run
    }

    fn runner(&self) -> String {
        format!("{}/line0/r3", self.folder.display())
    }

    fn wait_for(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        wait_until(|| what.to_owned(), || is_so(self));
    }

    /// Processes and mounts; its folder is another matter.
    fn is_gone(&self) {
        let name = self.folder.display().to_string();
        self.wait_for("the end of its processes", |_| processes_with(&name) == 0);
        let mounts = fs::read_to_string("/proc/1/mountinfo").unwrap();
        assert!(!mounts.contains(&name), "{mounts}");
    }
}

#[test]
fn of_chaos_that_is_stopped_nothing_is_left() {
    let mut run = Run::start();
    kill(
        Pid::from_raw(run.child.id().try_into().unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    assert_eq!(run.child.wait().unwrap().code(), Some(130));
    run.is_gone();
    assert!(!run.folder.exists());
}

#[test]
fn of_chaos_that_is_killed_only_files_are_left_and_the_next_run_removes_them() {
    let mut run = Run::start();
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    run.is_gone();
    let mut next = Run::start();
    assert!(!run.folder.exists(), "the next run has left what was left");
    kill(
        Pid::from_raw(next.child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    assert_eq!(next.child.wait().unwrap().code(), Some(130));
}
