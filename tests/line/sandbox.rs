//! What a foreign command can do to the machine: nothing. Each of these tries something, in the root that packages are tried in.

use millrace_core::platform::{Limits, Platform};
use millrace_host::buildroot::{Buildroots, Kind, Recipe, Root, RootError, Session};
use millrace_host::sandbox::{Command, Ended, Sandbox, View};
use millrace_tests::up::{Machine, platform, processes_with};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIMITS: Limits =
    Limits { memory_bytes: 200_000_000, disk_bytes: 100_000_000, processes: 50, time_s: 60, log_bytes: 1_000_000 };

/// Longer than any of these takes; what must be stopped sooner says so itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A root, and a folder for a task.
struct Yard {
    folder: tempfile::TempDir,
    sandbox: Sandbox,
    roots: Buildroots,
}

impl Yard {
    fn new() -> Self {
        let (machine, folder) = (Machine::here(), tempfile::tempdir().unwrap());
        fs::create_dir(folder.path().join("work")).unwrap();
        fs::set_permissions(folder.path().join("work"), fs::Permissions::from_mode(0o777)).unwrap();
        let sandbox = Sandbox::new(machine.program);
        let roots = Buildroots::new(&machine.work.join("roots"), sandbox.clone()).unwrap();
        Self { folder, sandbox, roots }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Makes a root with packages; the answer, and what was said.
    fn try_root(&self, packages: &[&str]) -> (Result<Root, RootError>, String) {
        let (work, never, mut said) = (self.work(), AtomicBool::new(false), String::new());
        let mut output = |bytes: &[u8]| said.push_str(&String::from_utf8_lossy(bytes));
        let limits = Limits { memory_bytes: 4 << 30, disk_bytes: 4 << 30, processes: 500, log_bytes: 16 << 20, ..LIMITS };
        let mut session =
            Session { work: &work, limits, time_left: Duration::from_secs(300), cancelled: &never, output: &mut output };
        let packages: Vec<String> = packages.iter().map(|package| (*package).to_owned()).collect();
        (self.roots.create(&recipe(), Kind::Minimal, &packages, &mut session), said)
    }

    fn root(&self) -> Root {
        let (root, said) = self.try_root(&[]);
        root.unwrap_or_else(|error| panic!("{error}\n{said}"))
    }

    /// Runs a script as the ordinary user; how it ended, and what it printed.
    fn bash(&self, script: &str) -> (Ended, String) {
        self.run(&["/bin/bash", "-c", script], PATIENCE, false)
    }

    fn run(&self, argv: &[&str], timeout: Duration, as_root: bool) -> (Ended, String) {
        self.run_until(argv, timeout, as_root, &AtomicBool::new(false))
    }

    fn run_until(&self, argv: &[&str], timeout: Duration, as_root: bool, cancelled: &AtomicBool) -> (Ended, String) {
        let root = self.root();
        self.run_in(root.view(), argv, timeout, as_root, cancelled)
    }

    fn run_in(&self, view: View, argv: &[&str], timeout: Duration, as_root: bool, cancelled: &AtomicBool) -> (Ended, String) {
        let (work, mut said) = (self.work(), String::new());
        let command = Command {
            view,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            cwd: "/tmp".to_owned(),
            stdin: Vec::new(),
            timeout,
            as_root,
            limits: LIMITS,
            work: &work,
            capture_bytes_max: 0,
            network: false,
        };
        let ended = self.sandbox.run(&command, cancelled, &mut |bytes: &[u8]| said.push_str(&String::from_utf8_lossy(bytes)));
        (ended.unwrap(), said)
    }
}

/// What the tests' platform is made from, without what the line releases.
fn recipe() -> Recipe {
    let platform = Platform::parse("platform.toml", &platform(&Machine::here().platform, "")).unwrap();
    Recipe {
        arch: std::env::consts::ARCH.parse().unwrap(),
        releasever: platform.releasever,
        module_platform: platform.module_platform,
        repositories: platform.repositories,
        buildroot: platform.buildroot,
    }
}

fn status(ended: &Ended) -> Option<u8> {
    match ended {
        Ended::Exited { status, .. } => Some(*status),
        _ => None,
    }
}

#[test]
fn the_status_is_as_shells_have_it() {
    let yard = Yard::new();
    assert_eq!(status(&yard.bash("exit 7").0), Some(7));
    assert_eq!(status(&yard.bash("kill -TERM $$").0), Some(128 + 15));
    assert_eq!(status(&yard.run(&["/no/such/program"], PATIENCE, false).0), Some(127));
}

#[test]
fn a_loop_is_stopped_in_time_and_nothing_of_it_is_left() {
    let yard = Yard::new();
    yard.root();
    let began = Instant::now();
    let script = "sleep 4711.25 & setsid sleep 4711.25 & while :; do :; done";
    let (ended, _) = yard.run(&["/bin/bash", "-c", script], Duration::from_secs(1), false);
    assert_eq!(ended, Ended::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(processes_with("4711.25"), 0);
}

#[test]
fn a_task_that_is_given_up_is_stopped() {
    let (yard, cancelled) = (Yard::new(), AtomicBool::new(false));
    let ended = std::thread::scope(|threads| {
        threads.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            cancelled.store(true, Ordering::SeqCst);
        });
        yard.run_until(&["/bin/bash", "-c", "sleep 600"], PATIENCE, false, &cancelled).0
    });
    assert_eq!(ended, Ended::Cancelled);
}

#[test]
fn more_memory_than_allowed_is_not_had() {
    let (ended, said) = Yard::new().bash("x=a; while :; do x=$x$x; done");
    assert_eq!(ended, Ended::OutOfMemory, "{said}");
}

#[test]
fn a_fork_bomb_runs_into_the_bound_and_its_author_is_told() {
    let (ended, said) = Yard::new().run(&["/bin/bash", "-c", "f() { f | f & }; f; sleep 5"], Duration::from_secs(2), false);
    assert!(matches!(ended, Ended::TimedOut | Ended::Exited { .. }), "{ended:?}");
    assert!(said.contains("it had 50, as many as it may"), "{said}");
}

#[test]
fn a_full_disk_ends_the_task_and_not_the_machine() {
    for place in ["/work/big", "/builddir/big"] {
        let (ended, said) = Yard::new().bash(&format!("cat /dev/zero > {place}"));
        assert_eq!(ended, Ended::OutOfSpace, "{place}: {said}");
    }
}

#[test]
fn printing_without_end_is_stopped() {
    let (ended, said) = Yard::new().bash("yes");
    assert_eq!(ended, Ended::OutputLimit);
    assert!((1_000_000..2_000_000).contains(&said.len()), "{} bytes were let through", said.len());
}

#[test]
fn nothing_outside_is_written_even_by_its_root() {
    let yard = Yard::new();
    let planted = Path::new("/usr/bin/planted-by-a-sandbox");
    let (ended, said) = yard.run(&["/bin/bash", "-c", "touch /usr/bin/planted-by-a-sandbox"], PATIENCE, true);
    assert_eq!(status(&ended), Some(0), "its own root is its own: {said}");
    assert!(!planted.exists());
    let (_, said) = yard.bash("ls /usr/bin/planted-by-a-sandbox");
    assert!(said.contains("No such file"), "one root leaked into the next: {said}");
    let (ended, _) = yard.bash("touch /usr/bin/planted-by-a-sandbox");
    assert_ne!(status(&ended), Some(0), "an ordinary user wrote to /usr/bin");
}

#[test]
fn it_cannot_mount_or_make_devices_or_reach_the_kernel() {
    let yard = Yard::new();
    let tries = [
        "mknod /work/disk b 8 0",
        "unshare --mount true",
        "chroot / true && mount -t proc proc /mnt",
        // Writes back what is there, so that the machine stays as it is where this works.
        "now=$(cat /proc/sys/kernel/panic) && echo $now > /proc/sys/kernel/panic",
        "echo x > /sys/power/state",
    ];
    for attempt in tries {
        let (ended, said) = yard.run(&["/bin/bash", "-c", attempt], PATIENCE, true);
        assert_ne!(status(&ended), Some(0), "`{attempt}` worked: {said}");
    }
}

#[test]
fn nobody_is_there_to_talk_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended, said) = Yard::new().bash(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}"));
    assert_ne!(status(&ended), Some(0), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    let (ended, said) = Yard::new().bash("exec 3<>/dev/tcp/192.0.2.1/80");
    assert_ne!(status(&ended), Some(0), "{said}");
    assert!(said.contains("unreachable"), "{said}");
}

#[test]
fn no_process_of_the_machine_is_seen() {
    let (ended, said) =
        Yard::new().bash("for p in /proc/[0-9]*; do echo ${p#/proc/}; done; hostname || cat /proc/sys/kernel/hostname");
    assert_eq!(status(&ended), Some(0), "{said}");
    let ids: Vec<u32> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| *id < 20), "{said}");
    assert!(said.contains("buildroot"), "{said}");
}

#[test]
fn what_works_on_a_root_from_outside_sees_programs_and_no_secrets() {
    let (yard, never) = (Yard::new(), AtomicBool::new(false));
    let (readable, writable) = (yard.folder.path().join("r"), yard.folder.path().join("w"));
    for folder in [&readable, &writable] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "here").unwrap();
    }
    fs::write(yard.folder.path().join("key"), "secret").unwrap();
    let run = |script: &str| {
        let view = View::Host { readable: vec![readable.clone()], writable: vec![writable.clone()], root: None };
        let (ended, said) = yard.run_in(view, &["/bin/bash", "-c", script], PATIENCE, true, &never);
        (status(&ended) == Some(0), said)
    };
    let (r, w, key) = (readable.display(), writable.display(), yard.folder.path().join("key").display().to_string());
    assert_eq!(
        run(&format!("dnf --version >/dev/null && rpm --version >/dev/null && cat {r}/file && touch {w}/new")),
        (true, "here".to_owned())
    );
    for attempt in [
        format!("cat {key}"),
        "ls /root".to_owned(),
        "ls /home".to_owned(),
        "cat /etc/shadow".to_owned(),
        "touch /usr/bin/planted-by-a-sandbox".to_owned(),
        format!("touch {r}/new"),
        "now=$(cat /proc/sys/kernel/panic) && echo $now > /proc/sys/kernel/panic".to_owned(),
    ] {
        let (worked, said) = run(&attempt);
        assert!(!worked, "`{attempt}` worked: {said}");
    }
    assert!(writable.join("new").exists() && !Path::new("/usr/bin/planted-by-a-sandbox").exists());
}

#[test]
fn a_package_that_nobody_has_is_named() {
    let (root, _) = Yard::new().try_root(&["no-such-package"]);
    let Err(RootError::Unresolved(problems)) = root else { panic!("{root:?}") };
    assert!(problems.join("\n").contains("no-such-package"), "{problems:?}");
}

#[test]
fn a_root_is_made_once_and_then_found() {
    let yard = Yard::new();
    yard.root();
    let (root, said) = yard.try_root(&[]);
    assert!(root.is_ok());
    assert_eq!(said, "", "it was made again");
}

#[test]
fn a_path_that_leads_out_of_the_folder_is_refused() {
    let yard = Yard::new();
    std::os::unix::fs::symlink("/etc/passwd", yard.work().join("link.rpm")).unwrap();
    for path in ["/work/../outside.rpm", "/work/link.rpm"] {
        let (root, _) = yard.try_root(&[path]);
        assert!(matches!(root, Err(RootError::Refused(_))), "{path}: {root:?}");
    }
}
