//! The life of a sandbox: how a command ends in it, within which bounds, and what is left of it when somebody ends it, its starter or its
//! runner.

use crate::specs::{empty, files};
use millrace_host::sandbox::{CommandEnd, SandboxError};
use millrace_tests::sandbox::{PATIENCE, SandboxFixture, status};
use millrace_tests::up::{TestSetup, Up, processes_with};
use millrace_tests::wait::wait_until;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn the_status_is_as_shells_have_it() {
    let fixture = SandboxFixture::new();
    assert_eq!(status(&fixture.bash("exit 7").0), Some(7));
    assert_eq!(status(&fixture.bash("kill -TERM $$").0), Some(128 + 15));
    assert_eq!(
        status(&fixture.run(&["/no/such/program"], PATIENCE, false).0),
        Some(127)
    );
}

#[test]
fn a_loop_is_stopped_in_time_and_nothing_of_it_is_left() {
    let fixture = SandboxFixture::new();
    fixture.root();
    let began = Instant::now();
    let script = "sleep 4711.25 & setsid sleep 4711.25 & while :; do :; done";
    let (ended, _) = fixture.run(&["/bin/bash", "-c", script], Duration::from_secs(1), false);
    assert_eq!(ended, CommandEnd::TimedOut);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(processes_with("4711.25"), 0);
}

#[test]
fn a_task_that_is_given_up_is_stopped() {
    let ended = SandboxFixture::new().when_heard("echo here; sleep 600", &mut |cancelled| {
        cancelled.store(true, Ordering::SeqCst)
    });
    assert_eq!(ended.unwrap(), CommandEnd::Cancelled);
}

#[test]
fn a_command_of_a_task_that_is_given_up_has_no_verdict() {
    let ended = SandboxFixture::new().when_heard("echo here", &mut |cancelled| {
        cancelled.store(true, Ordering::SeqCst)
    });
    assert_eq!(ended.unwrap(), CommandEnd::Cancelled);
}

#[test]
fn a_starter_without_its_runner_waits_for_nothing() {
    // Standard input stays open: nobody tells it to end.
    let (input, _open) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut starter = std::process::Command::new("timeout");
    starter
        .arg("20")
        .arg(TestSetup::here().program)
        .args(["__sandbox", &std::process::id().to_string()]);
    let ended = starter
        .stdin(std::os::fd::OwnedFd::from(input))
        .output()
        .unwrap();
    assert_eq!(
        ended.status.code(),
        Some(125),
        "its parent is another: {ended:?}"
    );
}

#[test]
fn a_sandbox_ended_from_outside_is_no_fault_of_the_command() {
    let word = unique("sleep-");
    let ended = SandboxFixture::new().when_heard(
        &format!("echo here; : {word}; sleep 600; :"),
        &mut |_| {
            signal("INT", holders(&word)[0]);
        },
    );
    assert!(matches!(ended, Err(SandboxError::Ended(2))), "{ended:?}");
}

/// The processes that hold the sandbox of a command that has this word in it: the launcher, and the first process. A shell becomes the last
/// thing that it is told to do, so that must not be what lasts.
pub fn holders(word: &str) -> Vec<u32> {
    let lines = process_lines();
    let is_holder = |id: u32| {
        lines
            .iter()
            .any(|(other, line)| *other == id && line.contains("__sandbox"))
    };
    let command = lines
        .iter()
        .find(|(id, line)| line.contains(word) && is_holder(parent(*id).unwrap_or(0)));
    let Some(first) = command.and_then(|(command, _)| parent(*command)) else {
        return Vec::new();
    };
    parent(first).into_iter().chain([first]).collect()
}

fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .and_then(|id| id.trim().parse().ok())
}

pub fn signal(signal: &str, process: u32) {
    millrace_tests::up::run(
        std::process::Command::new("kill").args([format!("-{signal}"), process.to_string()]),
    );
}

/// The one process of this one that starts launchers and is none.
fn starter() -> u32 {
    let own = process_lines()
        .into_iter()
        .filter(|(id, line)| line.contains("__sandbox") && parent(*id) == Some(std::process::id()));
    let children =
        |id: u32| fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let starters: Vec<u32> = own
        .map(|(id, _)| id)
        .filter(|id| children(*id).is_empty())
        .collect();
    assert_eq!(starters.len(), 1, "{starters:?}");
    starters[0]
}

#[test]
fn a_killed_starter_takes_no_command_along_and_is_replaced() {
    let (fixture, mut killed) = (SandboxFixture::new(), None);
    let ended = fixture.when_heard("echo here; sleep 0.5; echo still", &mut |_| {
        if killed.is_none() {
            killed = Some(starter());
            signal("KILL", killed.unwrap());
        }
    });
    assert!(
        matches!(ended, Ok(CommandEnd::Exited { status: 0, .. })),
        "{ended:?}"
    );
    let (ended, said) = fixture.bash("echo again");
    assert!(
        matches!(ended, CommandEnd::Exited { status: 0, .. }),
        "{ended:?}: {said}"
    );
    assert_ne!(Some(starter()), killed);
}

#[test]
fn a_starter_that_hangs_is_given_up_for_another() {
    let fixture = SandboxFixture::new();
    fixture.bash(":");
    let frozen = starter();
    signal("STOP", frozen);
    let (ended, said) = fixture.bash("echo ran >>/work/runs");
    assert!(
        matches!(ended, CommandEnd::Exited { status: 0, .. }),
        "{ended:?}: {said}"
    );
    assert_ne!(starter(), frozen, "there is one, and it is another");
    assert_eq!(
        fs::read_to_string(fixture.work().join("runs")).unwrap(),
        "ran\n"
    );
}

#[test]
fn a_sandbox_that_is_dropped_leaves_no_starter() {
    let fixture = SandboxFixture::new();
    fixture.bash(":");
    let starter = starter();
    drop(fixture);
    wait_until(|| "its end".to_owned(), || parent(starter).is_none());
}

#[test]
fn a_command_hears_all_signals() {
    let (ended, said) =
        SandboxFixture::new().run(&["/usr/bin/cat", "/proc/self/status"], PATIENCE, false);
    assert!(
        matches!(ended, CommandEnd::Exited { status: 0, .. }),
        "{ended:?}"
    );
    let of = |name: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    for signals in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        assert_eq!(of(signals), Some("0000000000000000"), "{signals}");
    }
}

/// A name that no other run of a test has.
pub fn unique(begin: &str) -> String {
    format!("{begin}{}-{}", std::process::id(), fastrand::u32(..))
}

pub fn process_lines() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            Some((
                process,
                fs::read_to_string(entry.path().join("cmdline")).ok()?,
            ))
        })
        .collect()
}

#[test]
fn more_memory_than_allowed_is_not_had() {
    let (ended, said) = SandboxFixture::new().bash("x=a; while :; do x=$x$x; done");
    assert_eq!(ended, CommandEnd::OutOfMemory, "{said}");
}

#[test]
fn a_fork_bomb_runs_into_the_bound_and_its_author_is_told() {
    let (ended, said) = SandboxFixture::new().run(
        &["/bin/bash", "-c", "f() { f | f & }; f; sleep 5"],
        Duration::from_secs(2),
        false,
    );
    assert!(
        matches!(ended, CommandEnd::TimedOut | CommandEnd::Exited { .. }),
        "{ended:?}"
    );
    assert!(said.contains("it had 50, as many as it may"), "{said}");
}

#[test]
fn a_full_disk_ends_the_task_and_not_the_machine() {
    for place in ["/work/big", "/builddir/big"] {
        let (ended, said) = SandboxFixture::new().bash(&format!("cat /dev/zero > {place}"));
        assert_eq!(ended, CommandEnd::OutOfSpace, "{place}: {said}");
    }
}

#[test]
fn printing_without_end_is_stopped() {
    let (ended, said) = SandboxFixture::new().bash("yes");
    assert_eq!(ended, CommandEnd::OutputLimit);
    assert!(
        (1_000_000..2_000_000).contains(&said.len()),
        "{} bytes were let through",
        said.len()
    );
}

/// Set in the process that a test starts once more, somewhere else.
pub const ELSEWHERE: &str = "MILLRACE_TEST_ELSEWHERE";

/// The rest of a test in a process of its own, which `program` starts.
pub fn again(mut program: std::process::Command, test: &str) {
    program
        .args(["--exact", test, "--nocapture"])
        .env(ELSEWHERE, "1");
    let output = program
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
fn ctrl_c_hands_the_task_back_and_the_next_runner_does_it() {
    let (folder, word) = (tempfile::tempdir().unwrap(), "7.4713");
    let mut up = Up::start_without_runner(folder.path());
    let token = runner_token(&up, "first");
    let state = folder.path().join("first");
    fs::create_dir_all(state.join("runner")).unwrap();
    symlink(
        TestSetup::here().work.join("roots"),
        state.join("runner/roots"),
    )
    .unwrap();
    fs::write(state.join("token"), token).unwrap();
    let mut first = std::process::Command::new(TestSetup::here().program)
        .args([
            "--state",
            state.to_str().unwrap(),
            "runner",
            "run",
            "first",
            "--url",
            &up.url(""),
            "--token-file",
        ])
        .arg(state.join("token"))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let commit = up.push_new(
        "slow",
        &files(&empty(
            "slow",
            "BuildArch: noarch",
            &format!("sleep {word}"),
        )),
    );
    wait_until(
        || format!("the build:\n{}", up.log()),
        || processes_with(word) > 0,
    );
    // As the terminal does it: to all that is in the foreground.
    millrace_tests::up::run(std::process::Command::new("kill").args([
        "-INT",
        "--",
        &format!("-{}", first.id()),
    ]));
    let (ended, mut said) = (first.wait().unwrap(), String::new());
    first
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(ended.success(), "{ended}: {said}");
    up.runner("second");
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{said}\n{}", up.log());
}

#[test]
fn a_line_whose_own_runner_cannot_run_ends_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    fs::write(work.join("lock"), "4715").unwrap();
    let held = File::open(work.join("lock")).unwrap();
    held.lock().unwrap();
    let mut up = std::process::Command::new(TestSetup::here().program)
        .args([
            "--state",
            folder.path().join("state").to_str().unwrap(),
            "up",
            "--listen",
            "127.0.0.1:0",
            "--work",
        ])
        .arg(&work)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while up.try_wait().unwrap().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = up.kill();
    let (ended, mut said) = (up.wait().unwrap(), String::new());
    up.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        ended.code().is_some_and(|code| code != 0)
            && said.contains("is in use by the process 4715"),
        "{ended}: {said}"
    );
}

/// Lets a runner in.
fn runner_token(up: &Up, name: &str) -> String {
    let added = up.millrace(&[
        "runner",
        "add",
        name,
        "--arch",
        std::env::consts::ARCH,
        "--url",
        &up.url(""),
        "--json",
    ]);
    let added: serde_json::Value = serde_json::from_str(&added).unwrap();
    added["token"].as_str().unwrap().to_owned()
}
