//! What a foreign command can do to the machine: nothing. Each of these tries something, in the root that packages are tried in.

use crate::sandbox::{ELSEWHERE, again, unique};
use millrace_host::sandbox::{Overlay, View};
use millrace_tests::sandbox::{PATIENCE, SandboxFixture, status};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

#[test]
fn nothing_outside_is_written_even_by_its_root() {
    let (fixture, planted) = (
        SandboxFixture::new(),
        format!("/usr/bin/{}", unique("planted-by-")),
    );
    let (ended, said) = fixture.run(
        &["/bin/bash", "-c", &format!("touch {planted}")],
        PATIENCE,
        true,
    );
    assert_eq!(status(&ended), Some(0), "its own root is its own: {said}");
    assert!(!Path::new(&planted).exists());
    let (_, said) = fixture.bash(&format!("ls {planted}"));
    assert!(
        said.contains("No such file"),
        "one root leaked into the next: {said}"
    );
    let (ended, _) = fixture.bash(&format!("touch {planted}"));
    assert_ne!(
        status(&ended),
        Some(0),
        "an ordinary user wrote to /usr/bin"
    );
}

/// What there is below a folder, whom it belongs to, and what may be done with it; the task's own aside.
fn outside(folder: &Path) -> Vec<(PathBuf, u32, u32)> {
    let metadata = fs::symlink_metadata(folder).unwrap();
    let mut all = vec![(folder.to_owned(), metadata.uid(), metadata.mode())];
    let entries = if metadata.is_dir() {
        fs::read_dir(folder).unwrap().flatten().collect()
    } else {
        Vec::new()
    };
    for entry in entries.iter().filter(|entry| entry.file_name() != "task") {
        all.extend(outside(&entry.path()));
    }
    all.sort();
    all
}

/// Runs something in a root in which a package has put a link in the place of a folder.
fn with_link(place: &str, target: &str, run: impl FnOnce(&SandboxFixture, Overlay)) {
    let fixture = SandboxFixture::new();
    let folder = fixture.folder.path().canonicalize().unwrap();
    fs::create_dir(folder.join("there")).unwrap();
    let before = outside(&folder);
    let root = fixture.root();
    let View::Root(overlay) = root.view() else {
        panic!("a root of its own")
    };
    fs::create_dir_all(&overlay.upper).unwrap();
    symlink(
        target.replace("FOLDER", folder.to_str().unwrap()),
        overlay.upper.join(place),
    )
    .unwrap();
    run(&fixture, overlay);
    assert_eq!(outside(&folder), before, "/{place} was a link to {target}");
}

/// Existing and missing ones of the machine, and the folder above the task's, which in the root is the root itself. Nothing that would
/// do harm where the sandbox does not hold.
const TARGETS: [&str; 3] = ["FOLDER/there", "FOLDER/missing", "../../.."];

#[test]
fn links_in_the_place_of_folders_lead_nowhere_outside() {
    for place in [
        "builddir", "var", "work", "dev", "tmp", "proc", "sys", "run",
    ] {
        for target in TARGETS {
            with_link(place, target, |fixture, overlay| {
                let script = "touch ~/here && echo x > /dev/null && echo did it";
                let argv = ["/bin/bash", "-c", script];
                let (ended, said) = fixture.run_in(
                    View::Root(overlay),
                    &argv,
                    PATIENCE,
                    false,
                    &AtomicBool::new(false),
                );
                assert_eq!(
                    (status(&ended), said.as_str()),
                    (Some(0), "did it\n"),
                    "/{place} to {target}"
                );
            });
        }
    }
}

#[test]
fn links_lead_nowhere_for_what_works_from_outside_either() {
    for place in ["dev", "proc"] {
        for target in TARGETS {
            with_link(place, target, |fixture, overlay| {
                let own = fixture.folder.path().join("task/own");
                fs::create_dir_all(own.join("root")).unwrap();
                let root = Some((overlay, own.join("root")));
                let view = View::Host {
                    readable: Vec::new(),
                    writable: vec![own.clone()],
                    root,
                    elsewhere: Vec::new(),
                };
                let argv = ["/bin/bash", "-c", "echo x > /dev/null && echo did it"];
                let (ended, said) =
                    fixture.run_in(view, &argv, PATIENCE, true, &AtomicBool::new(false));
                assert_eq!(
                    (status(&ended), said.as_str()),
                    (Some(0), "did it\n"),
                    "/{place} to {target}"
                );
            });
        }
    }
}

#[test]
fn it_cannot_make_devices_or_reach_the_kernel() {
    let fixture = SandboxFixture::new();
    let tries = [
        "mknod /work/disk b 8 0",
        // Writes back what is there, so that the machine stays as it is where this works.
        "now=$(cat /proc/sys/kernel/panic) && echo $now > /proc/sys/kernel/panic",
        "echo x > /sys/power/state",
    ];
    for attempt in tries {
        let (ended, said) = fixture.run(&["/bin/bash", "-c", attempt], PATIENCE, true);
        assert!(
            !matches!(status(&ended), Some(0 | 127)),
            "`{attempt}`: {ended:?} {said}"
        );
    }
}

/// Programs of one system call, whose status is the error that came of it. There is no compiler in a root, and no `mount` either.
#[cfg(target_arch = "x86_64")]
pub mod calls {
    use super::{PATIENCE, SandboxFixture, status};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const EPERM: u8 = 1;
    const EBADF: u8 = 9;
    const ENOSYS: u8 = 38;

    /// A call: its name, its number as x86_64 and as i386 have it, the beginning of its arguments, and the error. The arguments are
    /// such that the kernel itself would answer with another error, as far as it looks at them before it looks at who asks.
    const CALLS: [(&str, u32, u32, [u32; 3], u8); 22] = [
        ("chroot", 161, 61, [1, 0, 0], EPERM),
        (
            "clone-with-a-namespace-of-mounts",
            56,
            120,
            [0x0002_0011, 0, 0],
            EPERM,
        ),
        (
            "clone-with-a-namespace-of-users",
            56,
            120,
            [0x1000_0011, 0, 0],
            EPERM,
        ),
        ("clone-with-both", 56, 120, [0x1002_0011, 0, 0], EPERM),
        ("clone3", 435, 435, [0, 0, 0], ENOSYS),
        ("close", 3, 6, [u32::MAX, 0, 0], EBADF),
        ("fsconfig", 431, 431, [u32::MAX, 0, 0], EPERM),
        ("fsmount", 432, 432, [u32::MAX, 0, 0], EPERM),
        ("fsopen", 430, 430, [0, u32::MAX, 0], EPERM),
        ("fspick", 433, 433, [0, 0, u32::MAX], EPERM),
        ("mount", 165, 21, [1, 1, 1], EPERM),
        ("mount_setattr", 442, 442, [0, 0, u32::MAX], EPERM),
        ("move_mount", 429, 429, [0, 0, 0], EPERM),
        ("open_tree", 428, 428, [0, 0, 0x80], EPERM),
        ("open_tree_attr", 467, 467, [0, 0, 0x80], EPERM),
        ("pivot_root", 155, 217, [0, 0, 0], EPERM),
        ("setns", 308, 346, [u32::MAX, 0, 0], EPERM),
        ("terminal-console", 16, 54, [0, 0x541c, 0], EPERM),
        ("terminal-keys", 16, 54, [0, 0x5412, 0], EPERM),
        ("umount", 166, 52, [0, 0x80, 0], EPERM),
        ("unshare", 272, 310, [u32::MAX, 0, 0], EPERM),
        ("userfaultfd", 323, 374, [u32::MAX, 0, 0], EPERM),
    ];

    pub fn of_x86_64(number: u32, [a, b, c]: [u32; 3]) -> Vec<u8> {
        let set = |register: u8, value: u32| [&[register][..], &value.to_le_bytes()].concat();
        let mut code = [set(0xb8, number), set(0xbf, a), set(0xbe, b), set(0xba, c)].concat();
        code.extend([0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0, 0x0f, 0x05]); // r10 and r8 are 0; call
        code.extend([0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]); // exit with the error
        let words = |words: &[u64]| {
            words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let (base, begin) = (0x40_0000, 120);
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        file.extend(words(&[base + begin, 64, 0]));
        file.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x05\0\0\0");
        file.extend(words(&[
            0,
            base,
            base,
            begin + code.len() as u64,
            begin + code.len() as u64,
            0x1000,
        ]));
        [file, code].concat()
    }

    fn of_i386(number: u32, [a, b, c]: [u32; 3]) -> Vec<u8> {
        let set = |register: u8, value: u32| [&[register][..], &value.to_le_bytes()].concat();
        let mut code = [set(0xb8, number), set(0xbb, a), set(0xb9, b), set(0xba, c)].concat();
        code.extend([0x31, 0xf6, 0x31, 0xff, 0xcd, 0x80]); // esi and edi are 0; call
        code.extend([0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]); // exit with the error
        let words = |words: &[u32]| {
            words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let (base, begin) = (0x0804_8000, 84);
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
        file.extend(words(&[base + begin, 52, 0, 0]));
        file.extend(b"\x34\0\x20\0\x01\0\0\0\0\0\0\0");
        file.extend(words(&[
            1,
            0,
            base,
            base,
            begin + code.len() as u32,
            begin + code.len() as u32,
            5,
            0x1000,
        ]));
        [file, code].concat()
    }

    /// The errors that the calls end with, by name.
    pub fn tried(programs: impl Iterator<Item = (&'static str, Vec<u8>)>) -> Vec<String> {
        let fixture = SandboxFixture::new();
        for (name, program) in programs {
            fs::write(fixture.work().join(name), program).unwrap();
            fs::set_permissions(fixture.work().join(name), fs::Permissions::from_mode(0o755))
                .unwrap();
        }
        let script = "for call in /work/*; do $call; echo ${call##*/} $?; done";
        let (ended, said) = fixture.run(&["/bin/bash", "-c", script], PATIENCE, true);
        assert_eq!(status(&ended), Some(0), "{said}");
        said.lines().map(str::to_owned).collect()
    }

    fn expected() -> Vec<String> {
        CALLS
            .iter()
            .map(|(name, _, _, _, error)| format!("{name} {error}"))
            .collect()
    }

    #[test]
    fn no_mounts_no_namespaces_and_no_keys_for_a_terminal() {
        assert_eq!(
            tried(
                CALLS
                    .iter()
                    .map(|(name, number, _, arguments, _)| (*name, of_x86_64(*number, *arguments)))
            ),
            expected()
        );
    }

    #[test]
    fn programs_of_32_bits_run_and_are_refused_the_same() {
        assert_eq!(
            tried(
                CALLS
                    .iter()
                    .map(|(name, _, number, arguments, _)| (*name, of_i386(*number, *arguments)))
            ),
            expected()
        );
    }

    #[test]
    fn calls_of_x32_are_not_there() {
        let (close, mount) = (0x4000_0000 + 3, 0x4000_0000 + 165);
        let programs = [
            ("close", of_x86_64(close, [u32::MAX, 0, 0])),
            ("mount", of_x86_64(mount, [1, 1, 1])),
        ];
        assert_eq!(
            tried(programs.into_iter()),
            [format!("close {ENOSYS}"), format!("mount {ENOSYS}")]
        );
    }
}

#[test]
fn the_terminal_that_a_runner_was_started_on_is_out_of_reach() {
    if std::env::var_os(ELSEWHERE).is_some() {
        let script = "(exec 3<>/dev/tty) 2>/dev/null && exit 1; read -r line < /proc/self/stat; set -- ${line##*) }; echo session $4, terminal $5";
        let (ended, said) = SandboxFixture::new().bash(script);
        assert_eq!(status(&ended), Some(0), "{said}");
        assert_eq!(said, "session 0, terminal 0\n");
        return;
    }
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: two numbers to write to; no name, settings or size are asked for.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            none,
            none.cast(),
            none.cast(),
        )
    };
    assert_eq!(opened, 0);
    // SAFETY: both were just opened for us.
    let (_ours, theirs) = unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) };
    let terminal = theirs.as_raw_fd();
    let mut program = std::process::Command::new(std::env::current_exe().unwrap());
    program.stdin(theirs.try_clone().unwrap());
    // SAFETY: two system calls between fork and exec.
    unsafe {
        program.pre_exec(move || {
            libc::setsid();
            match libc::ioctl(terminal, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    };
    again(
        program,
        "walls::the_terminal_that_a_runner_was_started_on_is_out_of_reach",
    );
}

/// Leaves a chroot, as root can, climbs as high as it goes, and looks whether it sees a folder that no sandbox shows.
const CLIMB: &str = r#"mkdir "/tmp/jail"; chroot "/tmp/jail" or die $!; chdir ".." for 1..200; chroot "."; chdir "/";
    print -d "/usr/bin" ? "out of the jail, " : "in it, ", -d "/root" ? "and out of the sandbox" : "and not out of the sandbox""#;

#[test]
fn nobody_leaves_the_sandbox_of_a_runner_in_a_chroot() {
    if std::env::var_os(ELSEWHERE).is_some() {
        let view = View::Host {
            readable: Vec::new(),
            writable: Vec::new(),
            root: None,
            elsewhere: Vec::new(),
        };
        let (ended, said) = SandboxFixture::new().run_in(
            view,
            &["perl", "-e", CLIMB],
            PATIENCE,
            true,
            &AtomicBool::new(false),
        );
        assert_eq!(
            (status(&ended), said.as_str()),
            (Some(0), "out of the jail, and not out of the sandbox")
        );
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let mut program = std::process::Command::new("unshare");
    program.args([
        "--mount",
        "bash",
        "-c",
        "mount --rbind / \"$0\" && exec chroot \"$0\" \"$@\"",
    ]);
    program
        .arg(place.path())
        .arg(std::env::current_exe().unwrap());
    again(
        program,
        "walls::nobody_leaves_the_sandbox_of_a_runner_in_a_chroot",
    );
}

#[test]
fn nobody_is_there_to_talk_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended, said) = SandboxFixture::new().bash(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}"));
    assert_ne!(status(&ended), Some(0), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    let (ended, said) = SandboxFixture::new().bash("exec 3<>/dev/tcp/192.0.2.1/80");
    assert_ne!(status(&ended), Some(0), "{said}");
    assert!(said.contains("unreachable"), "{said}");
}

#[test]
fn no_process_of_the_machine_is_seen() {
    let (ended, said) =
        SandboxFixture::new().bash("for p in /proc/[0-9]*; do echo ${p#/proc/}; done; hostname || cat /proc/sys/kernel/hostname");
    assert_eq!(status(&ended), Some(0), "{said}");
    let ids: Vec<u32> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| *id < 20), "{said}");
    assert!(said.contains("buildroot"), "{said}");
}

#[test]
fn work_on_a_root_from_outside_sees_no_secrets() {
    let (fixture, never) = (SandboxFixture::new(), AtomicBool::new(false));
    let planted = format!("/usr/bin/{}", unique("planted-by-"));
    let (readable, writable) = (
        fixture.folder.path().join("r"),
        fixture.folder.path().join("w"),
    );
    for folder in [&readable, &writable] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "here").unwrap();
    }
    fs::write(fixture.folder.path().join("key"), "secret").unwrap();
    let run = |script: &str| {
        let view = View::Host {
            readable: vec![readable.clone()],
            writable: vec![writable.clone()],
            root: None,
            elsewhere: Vec::new(),
        };
        let (ended, said) =
            fixture.run_in(view, &["/bin/bash", "-c", script], PATIENCE, true, &never);
        (status(&ended) == Some(0), said)
    };
    let (r, w, key) = (
        readable.display(),
        writable.display(),
        fixture.folder.path().join("key").display().to_string(),
    );
    assert_eq!(
        run(&format!(
            "dnf --version >/dev/null && rpm --version >/dev/null && cat {r}/file && touch {w}/new"
        )),
        (true, "here".to_owned())
    );
    for attempt in [
        format!("cat {key}"),
        "ls /root".to_owned(),
        "ls /home".to_owned(),
        "cat /etc/shadow".to_owned(),
        format!("touch {planted}"),
        format!("touch {r}/new"),
        "now=$(cat /proc/sys/kernel/panic) && echo $now > /proc/sys/kernel/panic".to_owned(),
    ] {
        let (worked, said) = run(&attempt);
        assert!(!worked, "`{attempt}` worked: {said}");
    }
    assert!(writable.join("new").exists() && !Path::new(&planted).exists());
}
