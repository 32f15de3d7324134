//! The launcher: a process with one thread that builds the sandbox around itself and then becomes the command.
//!
//! Three processes: the launcher, which the host can kill and whose death kills the next; the first process of the PID namespace, which
//! sets everything up and reaps; and the command.

use super::plan::{Overlay, Plan, Shown, USER, View};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, chdir, execvpe, fork, pivot_root, setgid, setgroups, sethostname, setuid};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

/// Size of each file system in memory that a command may write to, in bytes: enough for what compilers put into `/tmp`, and it
/// counts as memory of the task.
const TMPFS: &str = "mode=1777,size=2g";

/// Open files of a process: what a session on EL has as its hard limit for most.
const FILES_MAX: u64 = 65_536;

/// Status of a launcher that did not get as far as the command; the file `problem` says why.
const NOT_SET_UP: i32 = 125;

/// Status of a command that is not there, as in shells.
const NOT_FOUND: i32 = 127;

/// Capabilities that package scriptlets and tests of installed packages need inside (capabilities(7)); all others are given up for
/// good. None of them reaches out of the namespaces.
const KEPT: [u32; 10] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    18, // SYS_CHROOT
    31, // SETFCAP
];

/// Highest capability that kernels know so far is 40; those beyond are refused without harm.
const CAPABILITIES: u32 = 64;

type Outcome<T> = Result<T, String>;

/// Adds what was being done to an error.
trait Doing<T> {
    fn doing(self, what: impl std::fmt::Display) -> Outcome<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl std::fmt::Display) -> Outcome<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// Does as planned; the status for the host.
pub(super) fn main(plan: &str) -> i32 {
    let plan: Plan = match serde_json::from_str(plan) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("sandbox: {error}");
            return NOT_SET_UP;
        }
    };
    match launch(&plan) {
        Ok(status) => status,
        Err(problem) => {
            let _ = File::options().write(true).open(&plan.problem).and_then(|mut pipe| pipe.write_all(problem.as_bytes()));
            NOT_SET_UP
        }
    }
}

/// Asks the kernel to end this process when its parent dies.
fn die_with_parent() -> Outcome<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing("prctl")
}

fn launch(plan: &Plan) -> Outcome<i32> {
    die_with_parent()?;
    for file in &plan.cgroups {
        fs::write(file, "0").doing(file.display())?;
    }
    fs::create_dir_all(&plan.mount).doing(plan.mount.display())?;
    let mut spaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    if !plan.network {
        spaces |= CloneFlags::CLONE_NEWNET;
    }
    unshare(spaces).doing("namespaces")?;
    // SAFETY: this process has one thread, so the child may do whatever the parent could.
    match unsafe { fork() }.doing("fork")? {
        ForkResult::Parent { child } => reap(child),
        ForkResult::Child => {
            // Opened before the old root is gone. A pipe with a name, since a file that is open for writing would keep its file
            // system from becoming read-only.
            let problem = File::options().write(true).open(&plan.problem);
            let result = first_process(plan);
            if let (Err(text), Ok(mut pipe)) = (&result, problem) {
                let _ = pipe.write_all(text.as_bytes());
            }
            std::process::exit(result.unwrap_or(NOT_SET_UP))
        }
    }
}

fn status_of(status: WaitStatus) -> Option<i32> {
    match status {
        WaitStatus::Exited(_, status) => Some(status),
        WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
        _ => None,
    }
}

fn reap(child: Pid) -> Outcome<i32> {
    waitpid(child, None).doing("wait").map(|status| status_of(status).unwrap_or(NOT_SET_UP))
}

/// The first process of the namespace: sets up, starts the command, and buries whoever dies. When it ends, all others do.
fn first_process(plan: &Plan) -> Outcome<i32> {
    die_with_parent()?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).doing("private mounts")?;
    match &plan.view {
        View::Root(overlay) => enter_root(plan, overlay)?,
        View::Host { readable, writable, root, elsewhere } => enter_host(plan, readable, writable, root.as_ref(), elsewhere)?,
    }
    if !plan.network {
        bring_loopback_up();
    }
    // SAFETY: this process has one thread.
    match unsafe { fork() }.doing("fork")? {
        ForkResult::Child => become_command(plan),
        ForkResult::Parent { child } => loop {
            match wait().doing("wait")? {
                status if status.pid() == Some(child) => return Ok(status_of(status).unwrap_or(NOT_SET_UP)),
                _ => {}
            }
        },
    }
}

fn mount_overlay(overlay: &Overlay, at: &Path) -> Outcome<()> {
    for folder in [&overlay.upper, &overlay.scratch] {
        fs::create_dir_all(folder).doing(folder.display())?;
    }
    let lowers = overlay.lowers.iter().map(|lower| lower.display().to_string()).collect::<Vec<_>>().join(":");
    let options = format!("lowerdir={lowers},upperdir={},workdir={}", overlay.upper.display(), overlay.scratch.display());
    mount(Some("overlay"), at, Some("overlay"), MsFlags::MS_NODEV, Some(options.as_str())).doing(format!("overlay of {lowers}"))
}

fn mount_new(kind: &str, at: &Path, flags: MsFlags, options: &str) -> Outcome<()> {
    fs::create_dir_all(at).doing(at.display())?;
    mount(Some(kind), at, Some(kind), flags, Some(options)).doing(format!("{kind} on {}", at.display()))
}

/// Makes the overlay the root, with the file systems that programs expect in it.
fn enter_root(plan: &Plan, overlay: &Overlay) -> Outcome<()> {
    let root = &plan.mount;
    mount_overlay(overlay, root)?;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    furnish(root)?;
    for folder in ["tmp", "var/tmp", "run"] {
        mount_new("tmpfs", &root.join(folder), plain, TMPFS)?;
    }
    mount_new("sysfs", &root.join("sys"), plain | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY, "").or_else(|problem| {
        // Without a network namespace of its own a sandbox may not see sysfs; nothing that builds packages needs it.
        if plan.network { Ok(()) } else { Err(problem) }
    })?;
    bind(&plan.work, &root.join("work"))?;
    let home = root.join("builddir");
    fs::create_dir_all(&home).doing(home.display())?;
    chown(&home, Some(USER), Some(USER)).doing(home.display())?;
    leave_for(root)?;
    sethostname("buildroot").doing("host name")
}

/// `/proc` and `/dev` of a root.
fn furnish(root: &Path) -> Outcome<()> {
    mount_proc(&root.join("proc"))?;
    let dev = root.join("dev");
    mount_new("tmpfs", &dev, MsFlags::MS_NOSUID, "mode=755,size=64k")?;
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let (from, to) = (Path::new("/dev").join(device), dev.join(device));
        File::create(&to).doing(to.display())?;
        mount(Some(&from), &to, None::<&str>, MsFlags::MS_BIND, None::<&str>).doing(to.display())?;
    }
    mount_new("devpts", &dev.join("pts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")?;
    mount_new("tmpfs", &dev.join("shm"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, TMPFS)?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (link, to) in links {
        symlink(to, dev.join(link)).doing(link)?;
    }
    Ok(())
}

/// Parts of `/proc` through which root sets the whole machine, whatever its namespace (proc(5)): only to be read.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// A `/proc` of the own PID namespace. What belongs to the machine cannot be written to: `sys/kernel/core_pattern` names a program that
/// the kernel would run outside.
fn mount_proc(at: &Path) -> Outcome<()> {
    mount_new("proc", at, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, "")?;
    for part in PROC_READ_ONLY.map(|part| at.join(part)).into_iter().filter(|part| part.exists()) {
        mount(Some(&part), &part, None::<&str>, MsFlags::MS_BIND, None::<&str>).doing(part.display())?;
        set_read_only(&part)?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to).doing(to.display())?;
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).doing(format!(
        "{} as {}",
        from.display(),
        to.display()
    ))
}

/// What programs of the machine need besides `/usr`: where they look up names, check certificates, and find their libraries.
/// Never `/etc` as a whole, which has the machine's secrets.
const ETC: [&str; 22] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "dnf",
    "gai.conf",
    "gnutls",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "libdnf5",
    "localtime",
    "nsswitch.conf",
    "passwd",
    "pki",
    "protocols",
    "resolv.conf",
    "rpm",
    "services",
    "ssl",
];

/// Folders in those that have private keys.
const PRIVATE: [&str; 4] = ["etc/pki/CA/private", "etc/pki/entitlement", "etc/pki/tls/private", "etc/ssl/private"];

/// Makes a root with the programs of this machine and nothing else of it, read-only; folders that are named are seen at their
/// places. Scriptlets of packages run in here too, chrooted, which is no wall for root.
fn enter_host(
    plan: &Plan,
    readable: &[PathBuf],
    writable: &[PathBuf],
    root: Option<&(Overlay, PathBuf)>,
    elsewhere: &[(Shown, PathBuf)],
) -> Outcome<()> {
    let new = &plan.mount;
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount_new("tmpfs", new, plain, "mode=755,size=16m")?;
    for folder in ["usr", "bin", "sbin", "lib", "lib32", "lib64"] {
        show(Path::new("/").join(folder).as_path(), new)?;
    }
    for name in ETC {
        show(&Path::new("/etc").join(name), new)?;
    }
    for folder in PRIVATE.map(|folder| new.join(folder)).iter().filter(|folder| folder.exists()) {
        mount_new("tmpfs", folder, plain, "mode=700,size=4k")?;
    }
    for folder in ["tmp", "var/tmp", "var/log", "run"] {
        mount_new("tmpfs", &new.join(folder), plain, TMPFS)?;
    }
    for folder in readable {
        bind(folder, &below(new, folder))?;
        set_read_only(&below(new, folder))?;
    }
    for folder in writable {
        bind(folder, &below(new, folder))?;
    }
    furnish(new)?;
    if let Some((overlay, at)) = root {
        let at = below(new, at);
        fs::create_dir_all(&at).doing(at.display())?;
        mount_overlay(overlay, &at)?;
        furnish(&at)?;
    }
    for (shown, at) in elsewhere {
        let at = below(new, at);
        match shown {
            Shown::Itself(folder) => bind(folder, &at)?,
            Shown::Under(overlay) => {
                fs::create_dir_all(&at).doing(at.display())?;
                mount_overlay(overlay, &at)?;
            }
        }
    }
    leave_for(new)
}

/// A path of the machine as a path below a folder.
fn below(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path.strip_prefix("/").unwrap_or(path))
}

/// Shows something of this machine, if it is there, at its place below another root. A link beside `/usr` leads into it and stays one;
/// what links of `/etc` lead to may lie in `/run` or `/var`, which are not seen.
fn show(path: &Path, new: &Path) -> Outcome<()> {
    let (Ok(kind), to) = (fs::metadata(path), below(new, path)) else { return Ok(()) };
    fs::create_dir_all(to.parent().unwrap_or(new)).doing(to.display())?;
    match fs::read_link(path) {
        Ok(target) if !path.starts_with("/etc") => symlink(target, &to).doing(to.display()),
        _ if kind.is_dir() => bind(path, &to).and_then(|()| set_read_only(&to)),
        _ => fs::copy(path, &to).map(drop).doing(path.display()),
    }
}

/// Makes a folder the root and lets go of the old one.
fn leave_for(root: &Path) -> Outcome<()> {
    chdir(root).doing("chdir")?;
    pivot_root(".", ".").doing("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).doing("leaving the old root")?;
    chdir("/").doing("chdir")
}

/// Makes all mounts from a folder on read-only (mount_setattr(2), Linux 5.12).
fn set_read_only(folder: &Path) -> Outcome<()> {
    let path = CString::new(folder.as_os_str().as_encoded_bytes()).doing(folder.display())?;
    // SAFETY: all zeroes is a valid `mount_attr`: nothing is set and nothing is cleared.
    let mut change: libc::mount_attr = unsafe { std::mem::zeroed() };
    change.attr_set = libc::MOUNT_ATTR_RDONLY;
    // SAFETY: the path is a C string that lives through the call, and the structure has the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw mut change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).doing(format!("read-only {}", folder.display())) }
}

/// Programs that talk to themselves over loopback work; nobody else is there.
fn bring_loopback_up() {
    // SAFETY: the request is a zeroed `ifreq` with a name and flags, which is what SIOCSIFFLAGS takes (netdevice(7)); the socket is
    // closed in the same block.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw mut request);
        libc::close(socket);
    }
}

/// Gives up what is not needed, and becomes the command. Comes back only to say why not.
fn become_command(plan: &Plan) -> Outcome<i32> {
    bound(plan)?;
    drop_capabilities();
    if !plan.as_root {
        setgroups(&[]).doing("groups")?;
        setgid(Gid::from_raw(USER)).doing("group")?;
        setuid(Uid::from_raw(USER)).doing("user")?;
    }
    nix::sys::prctl::set_no_new_privs().doing("no_new_privs")?;
    // Changing the user takes the order to die with the parent away.
    die_with_parent()?;
    filter_calls()?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    if chdir(Path::new(&plan.cwd)).is_err() {
        eprintln!("{}: no such folder in the root", plan.cwd);
        std::process::exit(NOT_FOUND);
    }
    let text = |text: &String| CString::new(text.as_str()).doing(text);
    let argv = plan.argv.iter().map(text).collect::<Outcome<Vec<_>>>()?;
    let env = plan.env.iter().map(|(name, value)| text(&format!("{name}={value}"))).collect::<Outcome<Vec<_>>>()?;
    let Some(program) = argv.first() else { return Err("an empty command".to_owned()) };
    // SAFETY: one thread, and the search for the program must go by the sandbox's PATH, not by the machine's.
    unsafe {
        std::env::set_var("PATH", plan.env.iter().find(|(name, _)| name == "PATH").map_or("/usr/bin:/bin", |(_, path)| path))
    };
    let Err(error) = execvpe(program, &argv, &env);
    eprintln!("{}: {}", plan.argv[0], error.desc());
    std::process::exit(if error == nix::errno::Errno::ENOENT { NOT_FOUND } else { NOT_FOUND - 1 })
}

fn bound(plan: &Plan) -> Outcome<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).doing("core files")?;
    setrlimit(Resource::RLIMIT_FSIZE, plan.file_bytes, plan.file_bytes).doing("file size")?;
    let files = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE).map_or(FILES_MAX, |(_, hard)| hard.min(FILES_MAX));
    setrlimit(Resource::RLIMIT_NOFILE, files, files).doing("open files")?;
    if plan.cgroups.is_empty() {
        // No control groups here: per process, and per user of the whole machine, is what is left.
        setrlimit(Resource::RLIMIT_AS, plan.memory_bytes, plan.memory_bytes).doing("memory")?;
        setrlimit(Resource::RLIMIT_NPROC, plan.processes, plan.processes).doing("processes")?;
    }
    Ok(())
}

/// Capabilities that are not kept are gone from the bounding set, so that no file brings them back, and from this process.
fn drop_capabilities() {
    for capability in (0..CAPABILITIES).filter(|capability| !KEPT.contains(capability)) {
        // SAFETY: PR_CAPBSET_DROP takes a number; one that the kernel does not know is refused.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    }
    let kept = KEPT.iter().fold(0u64, |bits, capability| bits | 1 << capability);
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    // Version 3 of the interface (capget(2)), for this process; effective, permitted, inheritable, twice 32 bits.
    let header = [0x2008_0522u32, 0];
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: both point to arrays of the sizes that version 3 says, which live through the call.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
}

/// Calls that no build needs and that reach deep into the kernel are refused with EPERM.
fn filter_calls() -> Outcome<()> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, apply_filter};
    let refused = [
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_bpf,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_finit_module,
        libc::SYS_init_module,
        libc::SYS_io_uring_setup,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_mount,
        libc::SYS_move_mount,
        libc::SYS_open_by_handle_at,
        libc::SYS_open_tree,
        libc::SYS_perf_event_open,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
    ];
    let rules: BTreeMap<i64, Vec<SeccompRule>> = refused.into_iter().map(|call| (call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().doing("seccomp");
    // seccompiler knows x86_64, aarch64 and riscv64; elsewhere namespaces and capabilities must do.
    let Ok(arch) = arch else { return Ok(()) };
    let eperm = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, eperm, arch).doing("seccomp")?;
    let program: BpfProgram = filter.try_into().doing("seccomp")?;
    apply_filter(&program).doing("seccomp")
}
