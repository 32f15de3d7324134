//! The last step of a sandbox's making: a process gives up what is not needed, and becomes the command.

use super::capabilities::drop_capabilities;
use super::plan::{LaunchPlan, USER};
use super::process::die_with_parent;
use super::setup_error::{Doing, SetupResult};
use super::view::View;
use super::{calls, inspect, order};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, chdir, execvpe, setgid, setgroups, setuid};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Open files of a process: what a session on EL has as its hard limit for most.
const FILES_MAX: u64 = 65_536;

/// Status of a command that is not there, as in shells.
const NOT_FOUND: i32 = 127;

/// Signals that there are (signal(7)); SIGKILL and SIGSTOP among them, which cannot be set.
const SIGNALS: usize = 64;

/// Gives up what is not needed, and becomes the command. Comes back only to say why not.
pub(super) fn become_command(plan: &LaunchPlan, way: Option<OwnedFd>) -> SetupResult<i32> {
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
        return inspect::print().map(|()| std::process::exit(0));
    }
    if chdir(Path::new(&plan.cwd)).is_err() {
        eprintln!("{}: no such folder in the root", plan.cwd);
        std::process::exit(NOT_FOUND);
    }
    let text = |text: &String| CString::new(text.as_str()).doing(text);
    let argv = plan
        .argv
        .iter()
        .map(text)
        .collect::<SetupResult<Vec<_>>>()?;
    let env = plan
        .env
        .iter()
        .map(|(name, value)| text(&format!("{name}={value}")))
        .collect::<SetupResult<Vec<_>>>()?;
    let Some(program) = argv.first() else {
        return Err("it is empty").doing("the command");
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

/// All signals do what they do by default, whatever this process, its libraries or the starter of the runner made of them. A command that
/// ignores SIGPIPE, as programs in Rust do, prints for nobody for ever, and no shell takes that back for what it starts.
fn hear_all_signals() -> SetupResult<()> {
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

fn bound(plan: &LaunchPlan) -> SetupResult<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).doing("core files")?;
    setrlimit(Resource::RLIMIT_FSIZE, plan.file_bytes, plan.file_bytes).doing("file size")?;
    let files = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(FILES_MAX, |(_, hard)| hard.min(FILES_MAX));
    setrlimit(Resource::RLIMIT_NOFILE, files, files).doing("open files")?;
    // Per process, and per user of the whole machine, is what is left without control groups.
    if let Some(bytes) = plan.memory_bytes {
        setrlimit(Resource::RLIMIT_AS, bytes, bytes).doing("memory")?;
    }
    if let Some(processes) = plan.processes {
        setrlimit(Resource::RLIMIT_NPROC, processes, processes).doing("processes")?;
    }
    Ok(())
}
