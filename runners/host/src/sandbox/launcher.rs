//! The launcher: a process with one thread that builds the sandbox around itself and then becomes the command.
//!
//! Three processes: the launcher, which the host can kill, whose death kills the next, and which answers what folders list; the first
//! process of the PID namespace, which sets everything up and reaps; and the command.

use super::calls;
use super::cgroup::Entries;
use super::look;
use super::mounts::{self, NO_DEVICES, NO_PROGRAMS, NO_SUID, READ_ONLY, Root, Tree};
use super::order::{self, Way};
use super::plan::{Overlay, Plan, Shown, USER, View};
use super::terminal;
use crate::machine::subordinate;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::wait::{WaitStatus, wait, waitpid};
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, chroot, execvpe, fchdir, fork, getppid, pivot_root, setgid,
    setgroups, sethostname, setsid, setuid,
};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// Bounds of each file system in memory that a command may write to: bytes enough for what compilers put into `/tmp`, which count as
/// memory of the task, and files enough for five trees of a kernel, which do where there are control groups.
const TMPFS: &str = "mode=1777,size=2g,nr_inodes=500k";

/// Open files of a process: what a session on EL has as its hard limit for most.
const FILES_MAX: u64 = 65_536;

/// Status of a launcher that did not get as far as the command; its word to the runner says why.
pub(super) const NOT_SET_UP: i32 = 125;

/// Status of a command that is not there, as in shells.
const NOT_FOUND: i32 = 127;

/// Signals that there are (signal(7)); SIGKILL and SIGSTOP among them, which cannot be set.
const SIGNALS: usize = 64;

/// Capabilities that package scriptlets and tests of installed packages need inside (capabilities(7)); all others are given up for
/// good. None of them reaches out of the namespaces.
pub(super) const KEPT: [u32; 10] = [
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

pub(super) type Outcome<T> = Result<T, String>;

/// Adds what was being done to an error.
pub(super) trait Doing<T> {
    fn doing(self, what: impl std::fmt::Display) -> Outcome<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl std::fmt::Display) -> Outcome<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// Does as planned; the status for the host. What did not work out is said in words.
pub(super) fn main(plan: &str, mut word: File) -> i32 {
    let plan: Plan = match serde_json::from_str(plan) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("sandbox: {error}");
            return NOT_SET_UP;
        }
    };
    match launch(&plan, &mut word) {
        Ok(status) => status,
        Err(problem) => {
            let _ = word.write_all(problem.as_bytes());
            NOT_SET_UP
        }
    }
}

/// Asks the kernel to end this process when its parent dies. One that has died before is not noticed.
pub(super) fn die_with_parent() -> Outcome<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing("prctl")
}

/// Cuts what binds this process to a terminal and to the files of who started it: keys that are pressed there are none of the
/// command's business, nor are signals that the terminal sends, such as that of Ctrl-C. Files from a number on are closed, which nothing in
/// this process may have in use.
pub(super) fn stand_alone(files: RawFd) -> Outcome<()> {
    setsid().doing("a session of its own")?;
    // SAFETY: it takes numbers, and the caller says that nobody misses these files.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, files, libc::c_uint::MAX, 0) })
        .map(drop)
        .doing("closing files")
}

fn launch(plan: &Plan, word: &mut File) -> Outcome<i32> {
    // As ps(1) and top(1) show it.
    nix::sys::prctl::set_name(c"launcher").doing("its name")?;
    die_with_parent()?;
    if getppid().as_raw() != plan.host {
        // It was killed before the kernel knew of this process: nobody is there to be told, and nobody waits for the command.
        return Ok(NOT_SET_UP);
    }
    stand_alone(word.as_raw_fd() + 1)?;
    // Opened before the first process changes the root of both.
    let mut groups = Entries::open(&plan.cgroups).doing("control groups")?;
    let mut spaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !plan.network {
        spaces |= CloneFlags::CLONE_NEWNET;
    }
    unshare(spaces).doing("namespaces")?;
    let (launcher, life) = std::io::pipe().doing("a pipe")?;
    let way = plan.ordered.then(Way::new).transpose()?;
    // SAFETY: this process has one thread, so the child may do whatever the parent could.
    match unsafe { groups.fork() }.doing("fork")? {
        (ForkResult::Parent { child }, _) => {
            drop((launcher, groups));
            way.map_or(Ok(()), |way| way.answer(child))?;
            let status = reap(child);
            drop(life);
            status
        }
        (ForkResult::Child, inside) => {
            drop(life);
            let result = die_with_parent().and_then(|()| {
                if has_ended(&launcher)? {
                    // It was killed before this process was bound to its life.
                    return Ok(NOT_SET_UP);
                }
                // Nothing foreign is begun that no group bounds.
                if !inside {
                    groups.enter().doing("joining a control group")?;
                }
                drop((launcher, groups));
                first_process(plan, way.map(Way::into_theirs), word)
            });
            if let Err(problem) = &result {
                let _ = word.write_all(problem.as_bytes());
            }
            std::process::exit(result.unwrap_or(NOT_SET_UP))
        }
    }
}

/// Whether nobody has the other end of a pipe any more, whichever end this is.
fn has_ended(pipe: impl AsFd) -> Outcome<bool> {
    let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).doing("poll")?;
    Ok(polled[0]
        .revents()
        .is_some_and(|found| found.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)))
}

fn status_of(status: WaitStatus) -> Option<i32> {
    match status {
        WaitStatus::Exited(_, status) => Some(status),
        WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
        _ => None,
    }
}

/// Waits for the first process. Nothing inside can end that, so a signal that did is no status of the command: it ends this one, too.
fn reap(child: Pid) -> Outcome<i32> {
    let status = waitpid(child, None).doing("wait")?;
    if let WaitStatus::Signaled(_, signal, _) = status {
        raise(signal).doing("ending as the first process did")?;
    }
    Ok(status_of(status).unwrap_or(NOT_SET_UP))
}

/// The first process of the namespace: sets up, starts the command, and buries whoever dies. When it ends, all others do.
fn first_process(plan: &Plan, way: Option<OwnedFd>, word: &File) -> Outcome<i32> {
    own_all_mounts(plan)?;
    match &plan.view {
        View::Root(overlay) => enter_root(plan, overlay)?,
        View::Machine => enter_machine(plan)?,
        View::Host {
            readable,
            writable,
            root,
            elsewhere,
        } => enter_host(plan, readable, writable, root.as_ref(), elsewhere)?,
    }
    if !plan.network {
        bring_loopback_up();
    }
    let terminal = plan.terminal.map(terminal::open).transpose()?;
    if has_ended(word)? {
        // The runner took this for one that would never begin, and started another.
        return Ok(NOT_SET_UP);
    }
    // SAFETY: this process has one thread.
    match unsafe { fork() }.doing("fork")? {
        ForkResult::Child => {
            terminal.map_or(Ok(()), terminal::sit_at)?;
            become_command(plan, way)
        }
        ForkResult::Parent { child } => {
            // The launcher waits until nobody has this end.
            drop(way);
            // Whoever has an end of it open keeps the other from seeing that all who sat there have gone.
            drop(terminal);
            loop {
                match wait().doing("wait")? {
                    status if status.pid() == Some(child) => {
                        return Ok(status_of(status).unwrap_or(NOT_SET_UP));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Levels that a chroot may lie below the top: more parts than a path can have (PATH_MAX).
const LEVELS_MAX: usize = 4096;

/// Levels that one path goes up: three of its 4096 bytes each.
const LEVELS_AT_ONCE: usize = 1024;

/// Goes to the top of all mounts that this process has. Its own root is not that where the runner is in a chroot: there are folders
/// above it then, and root leaves a chroot as it likes (chroot(2)): with its root somewhere below the folder that it is in, `..` leads up
/// to where nothing is above.
fn climb(plan: &Plan) -> Outcome<()> {
    chdir("/").doing("chdir")?;
    chroot(&plan.mount).doing("chroot")?;
    let up = "../".repeat(LEVELS_AT_ONCE);
    for _ in 0..LEVELS_MAX / LEVELS_AT_ONCE {
        chdir(up.as_str()).doing("chdir")?;
    }
    chroot(".").doing("chroot")
}

/// Makes sure that no mount from here on is seen outside, nor undone there, and comes back.
fn own_all_mounts(plan: &Plan) -> Outcome<()> {
    let root = open_folder(Path::new("/"))?;
    climb(plan)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .doing("private mounts")?;
    fchdir(&root).doing("chdir")?;
    chroot(".").doing("chroot")
}

fn mount_overlay(overlay: &Overlay, at: &Path) -> Outcome<()> {
    for folder in [&overlay.upper, &overlay.scratch] {
        fs::create_dir_all(folder).doing(folder.display())?;
    }
    let lowers = overlay
        .lowers
        .iter()
        .map(|lower| lower.display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    // Without `volatile` the kernel writes all that the machine's disk still has in memory when the overlay goes, whoever's it is: that
    // takes from tenths of a second to many. It leaves a mark then, so that nobody goes on after a crash with what was never written;
    // here a root that was in use then is thrown away (overlayfs.rst, "Volatile mount").
    match fs::remove_dir_all(overlay.scratch.join("work/incompat")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).doing(overlay.scratch.display());
        }
        _ => {}
    }
    // The attributes in which it keeps what was removed are otherwise those of the machine's root alone (overlayfs.rst, "userxattr").
    let own = if subordinate::in_namespace() {
        "volatile,userxattr"
    } else {
        "volatile"
    };
    let options = format!(
        "lowerdir={lowers},upperdir={},workdir={},{own}",
        overlay.upper.display(),
        overlay.scratch.display()
    );
    // Not by fsconfig(2), which takes 256 bytes of a value: these have more.
    mount(
        Some("overlay"),
        at,
        Some("overlay"),
        MsFlags::MS_NODEV,
        Some(options.as_str()),
    )
    .doing(format!("overlay of {lowers}"))
}

fn mount_new(kind: &str, at: &OwnedFd, properties: u64, options: &str) -> Outcome<OwnedFd> {
    Tree::new(kind, options, properties)
        .and_then(|new| new.over(at))
        .doing(format!("a new {kind}"))
}

fn folder(root: &Root, path: impl AsRef<Path>) -> Outcome<OwnedFd> {
    root.folder(path.as_ref())
        .doing(format!("{} in the root", path.as_ref().display()))
}

/// A folder of the runner's own.
fn open_folder(path: &Path) -> Outcome<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty()).doing(path.display())
}

/// Makes the overlay the root, with the file systems that programs expect in it.
fn enter_root(plan: &Plan, overlay: &Overlay) -> Outcome<()> {
    mount_overlay(overlay, &plan.mount)?;
    let root = Root::own(open_folder(&plan.mount)?);
    mounts::give(&folder(&root, "builddir")?, USER).doing("/builddir")?;
    // All places are looked up before there is a mount on any, so that no link leads from one into another.
    let in_memory = ["tmp", "var/tmp", "run"].map(|path| folder(&root, path));
    let (sys, work) = (folder(&root, "sys")?, folder(&root, "work")?);
    let names = Path::new("etc/resolv.conf");
    let names = plan
        .network
        .then(|| root.plain_file(names).doing("/etc/resolv.conf"))
        .transpose()?;
    furnish(&root, plan.terminal.is_some())?;
    for place in in_memory {
        mount_new("tmpfs", &place?, NO_SUID | NO_DEVICES, TMPFS)?;
    }
    mount_new(
        "sysfs",
        &sys,
        NO_SUID | NO_DEVICES | NO_PROGRAMS | READ_ONLY,
        "",
    )
    .map(drop)
    .or_else(|problem| {
        // Without a network namespace of its own a sandbox may not see sysfs; nothing that builds packages needs it.
        if plan.network { Ok(()) } else { Err(problem) }
    })?;
    Tree::copy(&plan.work)
        .and_then(|tree| tree.over(&work))
        .doing("/work")?;
    if let (Some(place), Ok(own)) = (names, Tree::copy(Path::new("/etc/resolv.conf"))) {
        // Whoever may use the network finds names as the machine does.
        own.read_only()
            .and_then(|tree| tree.over(&place))
            .doing("/etc/resolv.conf")?;
    }
    leave_for(plan, &root)?;
    sethostname("buildroot").doing("host name")
}

/// `/proc` and `/dev` of a root. `/dev/tty` is the terminal of whoever opens it, and only there where somebody sits at the sandbox.
fn furnish(root: &Root, tty: bool) -> Outcome<()> {
    let (proc, dev) = (folder(root, "proc")?, folder(root, "dev")?);
    mount_proc(&proc)?;
    let dev = Root::own(mount_new("tmpfs", &dev, NO_SUID, "mode=755,size=64k")?);
    for device in ["null", "zero", "full", "random", "urandom"]
        .into_iter()
        .chain(tty.then_some("tty"))
    {
        let to = dev.file(Path::new(device)).doing(device)?;
        Tree::copy(&Path::new("/dev").join(device))
            .and_then(|tree| tree.over(&to))
            .doing(device)?;
    }
    mount_new(
        "devpts",
        &folder(&dev, "pts")?,
        NO_SUID | NO_PROGRAMS,
        "newinstance,ptmxmode=0666,mode=620",
    )?;
    mount_new("tmpfs", &folder(&dev, "shm")?, NO_SUID | NO_DEVICES, TMPFS)?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (link, to) in links {
        dev.link(Path::new(link), Path::new(to)).doing(link)?;
    }
    Ok(())
}

/// Parts of `/proc` through which root sets the whole machine, whatever its namespace (proc(5)): only to be read.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// A `/proc` of the own PID namespace. What belongs to the machine cannot be written to: `sys/kernel/core_pattern` names a program that
/// the kernel would run outside.
fn mount_proc(at: &OwnedFd) -> Outcome<()> {
    let proc = Root::own(mount_new(
        "proc",
        at,
        NO_SUID | NO_DEVICES | NO_PROGRAMS,
        "",
    )?);
    for part in PROC_READ_ONLY {
        let place = match proc.find(Path::new(part)) {
            Err(Errno::ENOENT) => continue,
            other => other.doing(part)?,
        };
        Tree::copy_of(&place)
            .and_then(Tree::read_only)
            .and_then(|tree| tree.over(&place))
            .doing(format!("read-only /proc/{part}"))?;
    }
    Ok(())
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
const PRIVATE: [&str; 4] = [
    "etc/pki/CA/private",
    "etc/pki/entitlement",
    "etc/pki/tls/private",
    "etc/ssl/private",
];

/// Makes a root with the programs of this machine and nothing else of it, read-only; folders that are named are seen at their
/// places. Scriptlets of packages run in here too, chrooted, which is no wall for root.
fn enter_host(
    plan: &Plan,
    readable: &[PathBuf],
    writable: &[PathBuf],
    root: Option<&(Overlay, PathBuf)>,
    elsewhere: &[(Shown, PathBuf)],
) -> Outcome<()> {
    let plain = NO_SUID | NO_DEVICES;
    let new = Root::shared(mount_new(
        "tmpfs",
        &open_folder(&plan.mount)?,
        plain,
        "mode=755,size=16m",
    )?);
    for folder in ["usr", "bin", "sbin", "lib", "lib32", "lib64"] {
        show(&Path::new("/").join(folder), &new)?;
    }
    for name in ETC {
        show(&Path::new("/etc").join(name), &new)?;
    }
    for place in PRIVATE
        .iter()
        .filter_map(|folder| new.find(Path::new(folder)).ok())
    {
        mount_new("tmpfs", &place, plain, "mode=700,size=4k")?;
    }
    for path in ["tmp", "var/tmp", "var/log", "run"] {
        mount_new("tmpfs", &folder(&new, path)?, plain, TMPFS)?;
    }
    for path in readable {
        let place = folder(&new, path)?;
        Tree::copy(path)
            .and_then(Tree::read_only)
            .and_then(|tree| tree.over(&place))
            .doing(path.display())?;
    }
    for path in writable {
        let place = folder(&new, path)?;
        Tree::copy(path)
            .and_then(|tree| tree.over(&place))
            .doing(path.display())?;
    }
    furnish(&new, plan.terminal.is_some())?;
    if let Some((overlay, at)) = root {
        mount_overlay(overlay, &mounts::path_of(&folder(&new, at)?))?;
        furnish(&Root::own(new.find(at).doing(at.display())?), false)?;
    }
    for (shown, at) in elsewhere {
        let place = folder(&new, at)?;
        match shown {
            Shown::Itself(path) => Tree::copy(path)
                .and_then(|tree| tree.over(&place))
                .map(drop)
                .doing(path.display())?,
            Shown::Under(overlay) => mount_overlay(overlay, &mounts::path_of(&place))?,
        }
    }
    mounts::give(&folder(&new, "builddir")?, USER).doing("/builddir")?;
    leave_for(plan, &new)
}

/// Where rpm and dnf of the machine keep what is installed, besides what lies in `/usr`.
const INSTALLED: [&str; 2] = ["/var/lib/rpm", "/var/lib/dnf"];

/// Makes a root of the programs of this machine, with the task's folder where tasks expect it.
fn enter_machine(plan: &Plan) -> Outcome<()> {
    let readable: Vec<PathBuf> = INSTALLED
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .collect();
    let work = (Shown::Itself(plan.work.clone()), PathBuf::from("/work"));
    enter_host(plan, &readable, &[], None, &[work])
}

/// Shows something of this machine, if it is there, at its place in another root. A link beside `/usr` leads into it and stays one;
/// what links of `/etc` lead to may lie in `/run` or `/var`, which are not seen.
fn show(path: &Path, new: &Root) -> Outcome<()> {
    let Ok(kind) = fs::metadata(path) else {
        return Ok(());
    };
    match fs::read_link(path) {
        Ok(target) if !path.starts_with("/etc") => new.link(path, &target).doing(path.display()),
        _ if kind.is_dir() => {
            let place = folder(new, path)?;
            Tree::copy(path)
                .and_then(Tree::read_only)
                .and_then(|tree| tree.over(&place))
                .map(drop)
                .doing(path.display())
        }
        _ => {
            let mut to = new.file(path).map(File::from).doing(path.display())?;
            File::open(path)
                .and_then(|mut from| std::io::copy(&mut from, &mut to))
                .map(drop)
                .doing(path.display())
        }
    }
}

/// Makes a folder the root and lets go of everything else, so that nothing is above it: not even who leaves a chroot in the sandbox, as
/// scriptlets of packages can, comes out of it.
fn leave_for(plan: &Plan, root: &Root) -> Outcome<()> {
    climb(plan)?;
    fchdir(root).doing("chdir")?;
    pivot_root(".", ".").doing("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).doing("leaving the old root")?;
    chdir("/").doing("chdir")
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
fn become_command(plan: &Plan, way: Option<OwnedFd>) -> Outcome<i32> {
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
    // Scriptlets of packages are run in a chroot, from outside of the root.
    calls::filter(matches!(plan.view, View::Host { .. }))?;
    way.map_or(Ok(()), order::be_heard)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    hear_all_signals()?;
    if plan.look {
        return look::print().map(|()| std::process::exit(0));
    }
    if chdir(Path::new(&plan.cwd)).is_err() {
        eprintln!("{}: no such folder in the root", plan.cwd);
        std::process::exit(NOT_FOUND);
    }
    let text = |text: &String| CString::new(text.as_str()).doing(text);
    let argv = plan.argv.iter().map(text).collect::<Outcome<Vec<_>>>()?;
    let env = plan
        .env
        .iter()
        .map(|(name, value)| text(&format!("{name}={value}")))
        .collect::<Outcome<Vec<_>>>()?;
    let Some(program) = argv.first() else {
        return Err("an empty command".to_owned());
    };
    // SAFETY: one thread, and the search for the program must go by the sandbox's PATH, not by the machine's.
    unsafe {
        std::env::set_var(
            "PATH",
            plan.env
                .iter()
                .find(|(name, _)| name == "PATH")
                .map_or("/usr/bin:/bin", |(_, path)| path),
        )
    };
    let Err(error) = execvpe(program, &argv, &env);
    eprintln!("{}: {}", plan.argv[0], error.desc());
    std::process::exit(if error == Errno::ENOENT {
        NOT_FOUND
    } else {
        NOT_FOUND - 1
    })
}

/// All signals do what they do by default, whatever this process, its libraries or whoever started the runner made of them. A command that
/// ignores SIGPIPE, as programs in Rust do, prints for nobody for ever, and no shell takes that back for what it starts.
fn hear_all_signals() -> Outcome<()> {
    /// A `struct sigaction` of the kernel's, which on no machine is larger: nothing set is SIG_DFL, with no flags (rt_sigaction(2)).
    const DEFAULT: [u64; 8] = [0; 8];
    for signal in 1..=SIGNALS {
        // SAFETY: the kernel reads what lives through the call. Libraries keep some signals to themselves, and ask for others.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SIGNALS / 8,
            )
        };
    }
    SigSet::empty().thread_set_mask().doing("signals")
}

fn bound(plan: &Plan) -> Outcome<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).doing("core files")?;
    setrlimit(Resource::RLIMIT_FSIZE, plan.file_bytes, plan.file_bytes).doing("file size")?;
    let files = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(FILES_MAX, |(_, hard)| hard.min(FILES_MAX));
    setrlimit(Resource::RLIMIT_NOFILE, files, files).doing("open files")?;
    // Per process, and per user of the whole machine, is what is left where there are no control groups.
    if let Some(bytes) = plan.memory_bytes {
        setrlimit(Resource::RLIMIT_AS, bytes, bytes).doing("memory")?;
    }
    if let Some(processes) = plan.processes {
        setrlimit(Resource::RLIMIT_NPROC, processes, processes).doing("processes")?;
    }
    Ok(())
}

/// Capabilities that are not kept are gone from the bounding set, so that no file brings them back, and from this process.
fn drop_capabilities() {
    for capability in (0..CAPABILITIES).filter(|capability| !KEPT.contains(capability)) {
        // SAFETY: PR_CAPBSET_DROP takes a number; one that the kernel does not know is refused.
        unsafe {
            libc::prctl(
                libc::PR_CAPBSET_DROP,
                libc::c_ulong::from(capability),
                0,
                0,
                0,
            )
        };
    }
    let kept = KEPT
        .iter()
        .fold(0u64, |bits, capability| bits | 1 << capability);
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    // Version 3 of the interface (capget(2)), for this process; effective, permitted, inheritable, twice 32 bits.
    let header = [0x2008_0522u32, 0];
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: both point to arrays of the sizes that version 3 says, which live through the call.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
}
