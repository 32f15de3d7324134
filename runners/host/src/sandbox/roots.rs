//! The making of a sandbox's root, from outside: mounts are put together, and then nothing else stays in sight.

use super::mounts::{self, DetachedMount, NO_DEVICES, NO_PROGRAMS, NO_SUID, NewRoot, READ_ONLY};
use super::plan::{LaunchPlan, USER};
use super::setup_error::{Doing, SetupResult};
use super::view::{Overlay, Shown, View};
use crate::machine::subordinate;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, chroot, fchdir, pivot_root, sethostname};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Bounds of each file system in memory that a command may write to. Bytes enough for what compilers put into `/tmp`, which count as
/// memory of the task, and files enough for five trees of a kernel, which do if there are control groups.
const TMPFS: &str = "mode=1777,size=2g,nr_inodes=500k";

/// Makes what the command takes for the machine the root of this process.
pub(super) fn enter(plan: &LaunchPlan) -> SetupResult<()> {
    match &plan.view {
        View::Root(overlay) => enter_root(plan, overlay),
        View::Machine => enter_machine(plan),
        View::Host {
            readable,
            writable,
            root,
            elsewhere,
        } => enter_host(plan, readable, writable, root.as_ref(), elsewhere),
    }
}

/// Levels that a chroot may lie below the top: more parts than a path can have (PATH_MAX).
const LEVELS_MAX: usize = 4096;

/// Levels that one path goes up: three of its 4096 bytes each.
const LEVELS_AT_ONCE: usize = 1024;

/// Goes to the top of all mounts that this process has. Its own root is not that if the runner is in a chroot: there are folders above it
/// then. A process of root leaves a chroot as it likes (chroot(2)): with its root somewhere below the folder that it is in, `..` leads up
/// to where nothing is above.
fn climb(plan: &LaunchPlan) -> SetupResult<()> {
    chdir("/").doing("chdir")?;
    chroot(&plan.mount).doing("chroot")?;
    let up = "../".repeat(LEVELS_AT_ONCE);
    for _ in 0..LEVELS_MAX / LEVELS_AT_ONCE {
        chdir(up.as_str()).doing("chdir")?;
    }
    chroot(".").doing("chroot")
}

/// Makes sure that no mount from here on is seen outside, nor undone there, and comes back.
pub(super) fn own_all_mounts(plan: &LaunchPlan) -> SetupResult<()> {
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

fn mount_overlay(overlay: &Overlay, at: &Path) -> SetupResult<()> {
    for folder in [&overlay.upper, &overlay.scratch] {
        fs::create_dir_all(folder).doing(folder.display())?;
    }
    let lowers = overlay
        .lowers
        .iter()
        .map(|lower| lower.display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    // Without `volatile` the kernel writes all that the machine's disk still has in memory when the overlay goes, of all tasks: that
    // takes from tenths of a second to many. It leaves a mark then, so that nobody goes on after a crash with what was never written;
    // here a root that was in use then is thrown away (overlayfs.rst, "Volatile mount").
    match fs::remove_dir_all(overlay.scratch.join("work/incompat")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).doing(overlay.scratch.display());
        }
        _ => {}
    }
    // The attributes in which it keeps what was removed are those of the machine's root alone, if nothing is said (overlayfs.rst, "userxattr").
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

fn mount_new(kind: &str, at: &OwnedFd, properties: u64, options: &str) -> SetupResult<OwnedFd> {
    DetachedMount::new(kind, options, properties)
        .and_then(|new| new.over(at))
        .doing(format!("a new {kind}"))
}

fn folder(root: &NewRoot, path: impl AsRef<Path>) -> SetupResult<OwnedFd> {
    root.folder(path.as_ref())
        .doing(format!("{} in the root", path.as_ref().display()))
}

/// A folder of the runner's own.
fn open_folder(path: &Path) -> SetupResult<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty()).doing(path.display())
}

/// Makes the overlay the root, with the file systems that programs expect in it.
fn enter_root(plan: &LaunchPlan, overlay: &Overlay) -> SetupResult<()> {
    mount_overlay(overlay, &plan.mount)?;
    let root = NewRoot::own(open_folder(&plan.mount)?);
    mounts::give(&folder(&root, "builddir")?, USER).doing("/builddir")?;
    // All places are looked up before there is a mount on any, so that no link leads from one into another.
    let in_memory = ["tmp", "var/tmp", "run"].map(|path| folder(&root, path));
    let sys = folder(&root, "sys")?;
    let work = folder(&root, "work")?;
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
    DetachedMount::copy(&plan.work)
        .and_then(|tree| tree.over(&work))
        .doing("/work")?;
    if let (Some(place), Ok(own)) = (names, DetachedMount::copy(Path::new("/etc/resolv.conf"))) {
        // A command that may use the network finds names as the machine does.
        own.read_only()
            .and_then(|tree| tree.over(&place))
            .doing("/etc/resolv.conf")?;
    }
    leave_for(plan, &root)?;
    sethostname("buildroot").doing("host name")
}

/// `/proc` and `/dev` of a root. `/dev/tty` is the terminal of the process that opens it, and is only there if somebody sits at the sandbox.
fn furnish(root: &NewRoot, tty: bool) -> SetupResult<()> {
    let proc = folder(root, "proc")?;
    let dev = folder(root, "dev")?;
    mount_proc(&proc)?;
    let dev = NewRoot::own(mount_new("tmpfs", &dev, NO_SUID, "mode=755,size=64k")?);
    for device in ["null", "zero", "full", "random", "urandom"]
        .into_iter()
        .chain(tty.then_some("tty"))
    {
        let to = dev.file(Path::new(device)).doing(device)?;
        DetachedMount::copy(&Path::new("/dev").join(device))
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
fn mount_proc(at: &OwnedFd) -> SetupResult<()> {
    let proc = NewRoot::own(mount_new(
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
        DetachedMount::copy_of(&place)
            .and_then(DetachedMount::read_only)
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
    plan: &LaunchPlan,
    readable: &[PathBuf],
    writable: &[PathBuf],
    root: Option<&(Overlay, PathBuf)>,
    elsewhere: &[(Shown, PathBuf)],
) -> SetupResult<()> {
    let plain = NO_SUID | NO_DEVICES;
    let new = NewRoot::shared(mount_new(
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
        DetachedMount::copy(path)
            .and_then(DetachedMount::read_only)
            .and_then(|tree| tree.over(&place))
            .doing(path.display())?;
    }
    for path in writable {
        let place = folder(&new, path)?;
        DetachedMount::copy(path)
            .and_then(|tree| tree.over(&place))
            .doing(path.display())?;
    }
    furnish(&new, plan.terminal.is_some())?;
    if let Some((overlay, at)) = root {
        mount_overlay(overlay, &mounts::path_of(&folder(&new, at)?))?;
        furnish(&NewRoot::own(new.find(at).doing(at.display())?), false)?;
    }
    for (shown, at) in elsewhere {
        let place = folder(&new, at)?;
        match shown {
            Shown::Itself(path) => DetachedMount::copy(path)
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
fn enter_machine(plan: &LaunchPlan) -> SetupResult<()> {
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
fn show(path: &Path, new: &NewRoot) -> SetupResult<()> {
    let Ok(kind) = fs::metadata(path) else {
        return Ok(());
    };
    match fs::read_link(path) {
        Ok(target) if !path.starts_with("/etc") => new.link(path, &target).doing(path.display()),
        _ if kind.is_dir() => {
            let place = folder(new, path)?;
            DetachedMount::copy(path)
                .and_then(DetachedMount::read_only)
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
fn leave_for(plan: &LaunchPlan, root: &NewRoot) -> SetupResult<()> {
    climb(plan)?;
    fchdir(root).doing("chdir")?;
    pivot_root(".", ".").doing("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).doing("leaving the old root")?;
    chdir("/").doing("chdir")
}
