//! A sandbox in which a package failed, held for its author: a command in it, a shell at a real terminal, and every way in which it ends.

use crate::specs::{empty, files};
use millrace_tests::up::{TestSetup, Up, processes_with, seconds_of_this_run};
use millrace_tests::wait::{WAIT_MAX, wait_for, wait_until};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TASK: &str = "rpm@x86_64";

fn until(what: &str, holds: impl FnMut() -> bool) {
    wait_until(|| what.to_owned(), holds);
}

/// A package whose build fails, and leaves something behind.
fn unhappy() -> Vec<(String, String)> {
    empty(
        "unhappy",
        "BuildArch: noarch",
        "echo made here > made; export ONLY=there; echo the compiler is unhappy; exit 3",
    )
}

/// Pushes it, and builds it again with its sandbox held; the build, and what was reported of it.
fn hold(up: &mut Up, time: &str) -> (String, String) {
    let commit = up.push_new("unhappy", &files(&unhappy()));
    assert!(!up.watch(&commit).1);
    let build = up.builds()[0]["id"].as_str().unwrap().to_owned();
    up.millrace(&["retry", &build, TASK, "--hold", time]);
    let told = up.try_millrace(&["watch", &build]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("its sandbox is held until")
            && told.contains(&format!("`millrace shell {build} {TASK}`")),
        "{told}"
    );
    (build, told)
}

fn held_of(up: &Up, build: &str) -> Value {
    let build: Value =
        serde_json::from_str(&up.http("GET", &format!("/api/v1/builds/{build}"), "", "").1)
            .unwrap();
    build["pipeline"]
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["task"] == TASK)
        .unwrap()["held"]
        .clone()
}

/// A command in the sandbox; its status, what it printed, and what was said.
fn in_it(up: &Up, build: &str, argv: &[&str]) -> (Option<i32>, String, String) {
    let words = [&["shell", build, "--"], argv].concat();
    let output = up.try_millrace(&words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// What tasks have in the runner's folder.
fn left_over(tasks: &Path) -> usize {
    fs::read_dir(tasks).map_or(0, Iterator::count)
}

/// `millrace shell` at a terminal of this test's.
struct Seat {
    outer: File,
    inner: OwnedFd,
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Seat {
    fn sit(up: &Up, words: &[&str]) -> Self {
        let size = Winsize {
            ws_row: 40,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).unwrap();
        let stream = || Stdio::from(pair.slave.try_clone().unwrap());
        // A session of its own, whose terminal this is: so it hears that the size has changed.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(TestSetup::here().program)
            .args(["--state".as_ref(), up.state().as_os_str()])
            .arg("shell")
            .args(words)
            .env("TERM", "xterm")
            .stdin(stream())
            .stdout(stream())
            .stderr(stream())
            .spawn()
            .unwrap();
        let outer = File::from(pair.master);
        let (shown, mut from) = (
            Arc::new(Mutex::new(String::new())),
            outer.try_clone().unwrap(),
        );
        let showing = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                showing
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self {
            outer,
            inner: pair.slave,
            child,
            shown,
        }
    }

    fn types(&mut self, keys: &str) {
        self.outer.write_all(keys.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn shows(&self, words: &str) {
        wait_until(
            || format!("`{words}` on the terminal:\n{}", self.shown()),
            || self.shown().contains(words),
        );
    }

    /// Waits for the shell's prompt.
    fn prompts(&self) {
        wait_until(
            || format!("the prompt:\n{}", self.shown()),
            || self.shown().ends_with("$ "),
        );
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: it takes a pointer to a `winsize` that lives through the call.
        let set = unsafe {
            nix::libc::ioctl(
                self.outer.as_raw_fd(),
                nix::libc::TIOCSWINSZ,
                &raw const size,
            )
        };
        assert_eq!(set, 0);
    }

    /// Whether keys are handed on as they are.
    fn is_raw(&self) -> bool {
        !tcgetattr(&self.inner)
            .unwrap()
            .local_flags
            .contains(LocalFlags::ICANON)
    }

    fn ends(mut self) -> (ExitStatus, String) {
        let shown = self.shown.clone();
        let what = || format!("the end of it:\n{}", shown.lock().unwrap());
        let status = wait_for(what, || self.child.try_wait().unwrap());
        assert!(
            !self.is_raw(),
            "the terminal is not as it was:\n{}",
            self.shown()
        );
        std::thread::sleep(Duration::from_millis(100));
        (status, self.shown())
    }
}

#[test]
fn a_failed_sandbox_is_entered_by_its_author_and_gone_when_they_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let tasks = TestSetup::here().work.join("tasks");
    let (build, _) = hold(&mut up, "10m");
    let held = held_of(&up, &build);
    assert_eq!(
        held["command"],
        format!("millrace shell {build} {TASK}"),
        "{held}"
    );
    assert!(
        up.http("GET", &format!("/builds/{build}"), "", "")
            .1
            .contains("gives a terminal in it")
    );
    // It is what the command left, seen as that saw it.
    let (status, printed, said) = in_it(
        &up,
        &build,
        &["sh", "-c", "cat $(find /work/rpmbuild/BUILD -name made)"],
    );
    assert_eq!(
        (status, printed.as_str(), said.as_str()),
        (Some(0), "made here\n", "")
    );
    let (status, printed, _) = in_it(
        &up,
        &build,
        &[
            "sh",
            "-c",
            "id -u; ls /sys/class/net; echo $SOURCE_DATE_EPOCH; exit 7",
        ],
    );
    assert!(
        status == Some(7) && printed.starts_with("1000\nlo\n1"),
        "{printed}"
    );
    let (status, printed, _) = in_it(&up, &build, &["sh", "/work/again.sh"]);
    assert!(
        status == Some(1) && printed.contains("the compiler is unhappy"),
        "{status:?} {printed}"
    );
    // A lot of output comes as it is, and none of it is lost.
    let (_, printed, _) = in_it(&up, &build, &["seq", "200000"]);
    assert!(
        printed.lines().count() == 200_000 && printed.ends_with("199999\n200000\n"),
        "{} bytes",
        printed.len()
    );
    assert_eq!(in_it(&up, &build, &["no-such-program"]).0, Some(127));
    // The runner is free for others meanwhile.
    let good = up.push_new("good", &files(&empty("good", "BuildArch: noarch", "true")));
    assert!(up.watch(&good).1, "{}", up.log());

    let mut seat = Seat::sit(&up, &[&build]);
    seat.shows("sh /work/again.sh repeats it");
    seat.prompts();
    assert!(seat.is_raw());
    seat.types("stty size; tty; id -u; echo $TERM\r");
    seat.shows("40 100\r\n/dev/pts/0\r\n1000\r\nxterm\r\n");
    seat.resize(50, 120);
    until("the size follows", || {
        seat.types("stty size\r");
        std::thread::sleep(Duration::from_millis(200));
        seat.shown().contains("50 120\r\n")
    });
    // The keys come to the shell's history, where what failed is.
    seat.types("history\r");
    seat.shows("1  sh /work/again.sh");
    echoes_soon(&mut seat);
    let refused = up.try_millrace(&["shell", &build, "--", "true"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(4)
            && said.contains("is at it since")
            && said.contains("--take"),
        "{said}"
    );
    seat.types("sleep 600\r");
    std::thread::sleep(Duration::from_millis(300));
    seat.types("\u{3}");
    seat.types("exit 5\r");
    let (status, shown) = seat.ends();
    assert_eq!(status.code(), Some(5), "{shown}");
    assert!(
        shown.contains("it ended with status 5; the sandbox is held until"),
        "{shown}"
    );

    let mut seat = Seat::sit(&up, &[&build]);
    seat.prompts();
    seat.types("~.");
    let (status, shown) = seat.ends();
    assert!(
        status.code() == Some(0) && shown.contains("you have left it; the sandbox is held until"),
        "{shown}"
    );

    let seat = Seat::sit(&up, &[&build]);
    seat.prompts();
    let taken = up.try_millrace(&["shell", &build, "--take", "--", "echo", "mine"]);
    assert_eq!(
        String::from_utf8_lossy(&taken.stdout),
        "mine\n",
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
    let (status, shown) = seat.ends();
    assert!(
        status.code() == Some(4) && shown.contains("has taken it over"),
        "{shown}"
    );

    let nap = seconds_of_this_run(4242);
    let mut seat = Seat::sit(&up, &[&build]);
    seat.prompts();
    seat.types(&format!("setsid sleep {nap} & sleep {nap}\r"));
    until("it sleeps", || processes_with(&nap) >= 2);
    assert!(
        up.millrace(&["shell", &build, "--end"])
            .contains("is held no more")
    );
    let (status, shown) = seat.ends();
    assert!(
        status.code() == Some(4) && shown.contains("has given it up; the sandbox is held no more"),
        "{shown}"
    );
    assert_eq!(
        (processes_with(&nap), left_over(&tasks)),
        (0, 0),
        "{}",
        up.log()
    );
    assert!(held_of(&up, &build).is_null());
    let (status, _, said) = in_it(&up, &build, &["true"]);
    assert!(
        status == Some(3) && said.contains("is held no more since") && said.contains("--hold 30m"),
        "{said}"
    );
}

/// A key is shown again so soon that nobody feels it; reported, so that the reader of the test's output sees how soon.
fn echoes_soon(seat: &mut Seat) {
    let mut took: Vec<u128> = (0..30)
        .map(|_| {
            let (before, began) = (seat.shown().len(), Instant::now());
            seat.types("x");
            while seat.shown().len() == before {
                assert!(began.elapsed() < WAIT_MAX, "no echo");
                std::thread::sleep(Duration::from_millis(1));
            }
            began.elapsed().as_millis()
        })
        .collect();
    took.sort_unstable();
    eprintln!(
        "a key is shown again after {} ms (half of thirty), {} ms (the slowest)",
        took[15], took[29]
    );
    assert!(took[15] < 300, "{took:?}");
    seat.types("\u{15}");
}

#[test]
fn a_hold_ends_with_its_time_and_whoever_is_in_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let (build, _) = hold(&mut up, "20s");
    let mut seat = Seat::sit(&up, &[&build, TASK]);
    seat.shows("[millrace: this sandbox is held for");
    seat.types("sleep 900\r");
    let (status, shown) = seat.ends();
    assert!(
        status.code() == Some(4)
            && shown.contains("its time was over; the sandbox is held no more"),
        "{shown}"
    );
    let tasks = TestSetup::here().work.join("tasks");
    until("nothing of it is left", || left_over(&tasks) == 0);
}

#[test]
fn whoever_is_told_to_end_gives_the_terminal_back_and_a_runner_that_is_killed_leaves_nothing_behind()
 {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    up.runner("one");
    let (build, _) = hold(&mut up, "10m");
    let nap = seconds_of_this_run(4343);
    let mut seat = Seat::sit(&up, &[&build]);
    seat.prompts();
    seat.types(&format!("sleep {nap}\r"));
    until("it sleeps", || processes_with(&nap) > 0);
    // The program that sits there, whose parent is setsid.
    let children =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", seat.child.id())).unwrap();
    let program: i32 = children
        .split_whitespace()
        .next()
        .map_or(seat.child.id() as i32, |child| child.parse().unwrap());
    kill(Pid::from_raw(program), Signal::SIGTERM).unwrap();
    let (_, shown) = seat.ends();
    assert!(
        shown.contains("it was ended by a signal; the sandbox is held until"),
        "{shown}"
    );
    until("its shell has ended", || processes_with(&nap) == 0);

    // A session goes on over a restart of the line.
    let mut seat = Seat::sit(&up, &[&build]);
    seat.prompts();
    up.kill();
    up.go_on();
    seat.types("echo still $((40 + 2))\r");
    seat.shows("still 42");

    seat.types(&format!("sleep {nap}\r"));
    until("it sleeps again", || processes_with(&nap) > 0);
    up.kill_runner("one");
    until("its sandbox dies with it", || processes_with(&nap) == 0);
    up.start_runner("one");
    let (status, shown) = seat.ends();
    assert!(
        status.code() == Some(4)
            && shown.contains("its runner was restarted; the sandbox is held no more"),
        "{shown}"
    );
    assert_eq!(left_over(&folder.path().join("one/runner/tasks")), 0);
    assert!(held_of(&up, &build).is_null());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(folder.path().to_str().unwrap()),
        "{mounts}"
    );
}

#[test]
fn a_runner_that_leaves_gives_up_what_it_holds_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    up.runner("one");
    let (build, _) = hold(&mut up, "10m");
    up.millrace(&["runner", "drain", "one"]);
    up.runner_ends("one");
    let (status, _, said) = in_it(&up, &build, &["true"]);
    assert!(
        status == Some(3) && said.contains("its runner has left"),
        "{said}"
    );
    assert_eq!(left_over(&folder.path().join("one/runner/tasks")), 0);
}
