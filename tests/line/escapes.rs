//! Ways out of the sandbox and ways to fill the machine, each tried by a command as a package could bring it; and what is left when a
//! part of the sandbox is killed.
//!
//! `sandbox` has the rest: writing outside, seeing processes, mounting, a loop, a fork bomb, memory, disk and log.

use crate::sandbox::{ELSEWHERE, again, holders, signal, unique};
use millrace_host::sandbox::{CommandEnd, SandboxError, View};
use millrace_tests::sandbox::{PATIENCE, SandboxFixture, status};
use millrace_tests::up::processes_with;
use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Runs a script as root of the sandbox, who can do more there than its ordinary user.
fn as_root(fixture: &SandboxFixture, script: &str) -> (CommandEnd, String) {
    fixture.run(&["/bin/bash", "-c", script], PATIENCE, true)
}

#[test]
fn the_files_of_another_task_are_not_to_be_found() {
    let (one, other, name) = (
        SandboxFixture::new(),
        SandboxFixture::new(),
        unique("secret-"),
    );
    let secret = one.work().join(&name);
    fs::write(&secret, "the secret of another task").unwrap();
    let beside = one.folder.path().join("task").join(&name);
    fs::write(&beside, "the secret of another task").unwrap();
    let script = format!(
        "shopt -s globstar dotglob nullglob
        cat {secret} {beside} /proc/*/root{secret} /proc/*/cwd{secret} /work/../..{secret} /dev/fd/*/../../../../../..{secret}
        for found in /**/{name}; do cat $found; done
        echo looked everywhere",
        secret = secret.display(),
        beside = beside.display(),
    );
    let (ended, said) = as_root(&other, &script);
    assert!(
        status(&ended) == Some(0) && said.contains("looked everywhere"),
        "{said}"
    );
    assert!(!said.contains("the secret of another task"), "{said}");
    let (ended, said) = as_root(&one, &format!("cat /work/{name}"));
    assert_eq!(
        (status(&ended), said.as_str()),
        (Some(0), "the secret of another task"),
        "its own task finds it"
    );
}

#[test]
fn the_metadata_address_of_a_cloud_does_not_answer() {
    if std::env::var_os(ELSEWHERE).is_none() {
        // A cloud of its own, in a network that is gone with the process.
        let cloud =
            "ip link set lo up && ip address add 169.254.169.254/32 dev lo && exec \"$0\" \"$@\"";
        let mut program = Command::new("unshare");
        program
            .args(["--net", "bash", "-c", cloud])
            .arg(std::env::current_exe().unwrap());
        return again(
            program,
            "escapes::the_metadata_address_of_a_cloud_does_not_answer",
        );
    }
    let _metadata = TcpListener::bind("169.254.169.254:80").unwrap();
    let ask = "exec 3<>/dev/tcp/169.254.169.254/80 && echo answered";
    let outside = Command::new("bash").args(["-c", ask]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&outside.stdout),
        "answered\n",
        "there is no cloud to be kept from"
    );
    for ask in [ask, "exec 3<>/dev/tcp/fd00:ec2::254/80 && echo answered"] {
        let (ended, said) = as_root(&SandboxFixture::new(), ask);
        assert!(
            status(&ended) != Some(0) && said.contains("unreachable") && !said.contains("answered"),
            "{said}"
        );
    }
}

/// Says for each way to a socket whether somebody answers there: the first is a path, the second an abstract name.
const CONNECT: &str = r#"use Socket; for (["path", $ARGV[0]], ["abstract", "\0$ARGV[1]"]) { socket(my $s, AF_UNIX, SOCK_STREAM, 0);
    print $$_[0], connect($s, pack_sockaddr_un($$_[1])) ? " answers\n" : " does not\n" }"#;

#[test]
fn sockets_of_the_machine_do_not_answer() {
    let (fixture, name) = (SandboxFixture::new(), unique("socket-"));
    let path = fixture.folder.path().join("socket");
    let _path = UnixListener::bind(&path).unwrap();
    let _abstract =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let argv = ["perl", "-e", CONNECT, path.to_str().unwrap(), &name];
    let outside = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&outside.stdout),
        "path answers\nabstract answers\n"
    );
    // Where packages are installed there are the machine's programs, perl among them.
    let view = View::Host {
        readable: Vec::new(),
        writable: Vec::new(),
        root: None,
        elsewhere: Vec::new(),
    };
    let (ended, said) = fixture.run_in(view, &argv, PATIENCE, true, &AtomicBool::new(false));
    assert_eq!(
        (status(&ended), said.as_str()),
        (Some(0), "path does not\nabstract does not\n")
    );
}

#[test]
fn no_process_outside_can_be_signalled() {
    let own = std::process::id();
    let script = format!(
        "kill -0 {own} && echo signalled
        kill -KILL 1; kill -STOP 1
        cat /proc/1/environ && echo environment
        ls /proc/1/root/ && echo root
        (readlink /proc/1/fd/3 || exec 3<>/proc/1/fd/3) && echo files
        (exec 3<>/proc/1/mem) && echo memory
        echo alive"
    );
    let (ended, said) = as_root(&SandboxFixture::new(), &script);
    let did: Vec<&str> = said.lines().filter(|line| !line.contains(": ")).collect();
    assert_eq!(
        (status(&ended), did.as_slice()),
        (Some(0), &["alive"][..]),
        "{said}"
    );
}

#[test]
fn what_sets_the_kernel_cannot_even_be_opened_for_writing() {
    let knobs = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/power/state",
        "/sys/fs/cgroup/cgroup.procs",
    ];
    let opens = knobs
        .map(|knob| {
            format!("(exec 3>>{knob}) 2>&- && echo {knob}; mkdir {knob}.d 2>&- && echo {knob}.d")
        })
        .join("\n");
    let (ended, said) = as_root(&SandboxFixture::new(), &format!("{opens}\necho tried all"));
    assert_eq!((status(&ended), said.as_str()), (Some(0), "tried all\n"));
}

#[test]
fn only_usual_devices_are_there_and_none_can_be_made() {
    let fixture = SandboxFixture::new();
    let (ended, said) = as_root(
        &fixture,
        // One stream, so that what was said first is read first.
        "exec 2>&1; echo $(cd /dev; echo *); for kind in b c; do mknod /work/new $kind 1 1 && echo made; done; :",
    );
    let devices = said.lines().next().unwrap_or_default();
    assert_eq!(
        (status(&ended), devices),
        (
            Some(0),
            "fd full null ptmx pts random shm stderr stdin stdout urandom zero"
        ),
        "{said}"
    );
    assert!(
        said.contains("mknod") && !said.contains("not found") && !said.contains("made"),
        "{said}"
    );
}

#[test]
fn endless_and_empty_files_end_the_task_not_the_machine() {
    let (ended, said) = SandboxFixture::new().bash("i=0; while :; do : > /work/$((i++)); done");
    assert_eq!(ended, CommandEnd::OutOfSpace, "{said}");
}

#[test]
fn files_without_end_in_memory_run_into_a_bound() {
    let (ended, said) =
        SandboxFixture::new().bash("i=0; while : > /tmp/$((i++)); do :; done 2>&1; echo full");
    let bounded = ended == CommandEnd::OutOfMemory
        || status(&ended) == Some(0) && said.contains("No space left");
    assert!(bounded, "{ended:?}: {said}");
}

#[test]
fn a_growing_file_in_memory_counts_as_memory_of_the_task() {
    for place in ["/tmp", "/var/tmp", "/run", "/dev/shm"] {
        let (ended, said) = as_root(
            &SandboxFixture::new(),
            &format!("for n in 1 2 3 4; do cat /dev/zero > {place}/$n; done"),
        );
        assert_eq!(ended, CommandEnd::OutOfMemory, "{place}: {said}");
    }
}

#[test]
fn a_fork_bomb_of_root_runs_into_the_bound_too() {
    let (ended, said) = SandboxFixture::new().run(
        &["/bin/bash", "-c", "f() { f | f & }; f; sleep 5"],
        Duration::from_secs(2),
        true,
    );
    assert!(
        matches!(ended, CommandEnd::TimedOut | CommandEnd::Exited { .. }),
        "{ended:?}"
    );
    assert!(said.contains("it had 50, as many as it may"), "{said}");
}

#[cfg(target_arch = "x86_64")]
mod calls {
    use crate::walls::calls::{of_x86_64, tried};

    const EPERM: u8 = 1;
    const ESRCH: u8 = 3;

    #[test]
    fn no_module_is_loaded_and_no_kernel_is_replaced() {
        let calls = [
            ("bpf", 321),
            ("delete", 176),
            ("init", 175),
            ("kexec", 246),
            ("load", 313),
            ("reboot", 169),
            ("swap", 167),
        ];
        let expected: Vec<String> = calls
            .iter()
            .map(|(name, _)| format!("{name} {EPERM}"))
            .collect();
        assert_eq!(
            tried(
                calls
                    .into_iter()
                    .map(|(name, number)| (name, of_x86_64(number, [0, 0, 0])))
            ),
            expected
        );
    }

    #[test]
    fn only_what_runs_inside_can_be_traced() {
        const PTRACE: u32 = 101;
        const TRACE_ME: u32 = 0;
        const ATTACH: u32 = 16;
        let programs = [
            (
                "1-outside",
                of_x86_64(PTRACE, [ATTACH, std::process::id(), 0]),
            ),
            ("2-first", of_x86_64(PTRACE, [ATTACH, 1, 0])),
            ("3-inside", of_x86_64(PTRACE, [TRACE_ME, 0, 0])),
        ];
        let expected = [
            format!("1-outside {ESRCH}"),
            format!("2-first {EPERM}"),
            "3-inside 0".to_owned(),
        ];
        assert_eq!(tried(programs.into_iter()), expected);
    }
}

/// What a sandbox of this process has in the kernel and beside its task's folder.
fn left_over(fixture: &SandboxFixture) -> Vec<String> {
    let own = format!("millrace-{}-", std::process::id());
    let groups = Command::new("find")
        .args(["/sys/fs/cgroup", "-name", &format!("{own}*")])
        .output()
        .unwrap();
    let folder = fixture.folder.path().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts = mounts
        .lines()
        .filter(|line| line.contains(&folder))
        .map(str::to_owned);
    let beside = fs::read_dir(fixture.folder.path().join("task"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path().display().to_string());
    let groups = String::from_utf8_lossy(&groups.stdout)
        .lines()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    groups
        .into_iter()
        .chain(mounts)
        .chain(beside.filter(|path| !path.ends_with("/work")))
        .collect()
}

/// Kills one of the two processes that hold a sandbox, by its place among them, while the command runs; how that ended.
fn killed(place: usize) {
    let (fixture, word) = (SandboxFixture::new(), unique("nap-"));
    let script = format!("echo here; : {word}; (setsid sleep 4717.5 &); sleep 4717.5; :");
    let began = Instant::now();
    let mut victims = Vec::new();
    let ended = fixture.when_heard(&script, &mut |_| {
        // What the shell may still say while all of it dies is nobody's to be killed for.
        if victims.is_empty() {
            victims = holders(&word);
            signal("KILL", victims[place]);
        }
    });
    assert_eq!(victims.len(), 2, "the launcher and the first process");
    assert!(
        matches!(ended, Err(SandboxError::Ended(9))),
        "it is no fault of the command: {ended:?}"
    );
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(
        (holders(&word), processes_with("4717.5")),
        (Vec::new(), 0),
        "a process is left"
    );
    assert_eq!(left_over(&fixture), Vec::<String>::new());
}

#[test]
fn a_launcher_that_is_killed_takes_all_of_its_sandbox_along() {
    killed(0);
}

#[test]
fn a_sandbox_ends_with_its_first_process() {
    killed(1);
}
