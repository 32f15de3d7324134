//! What the starter and the launchers do as processes, before they are anything else.

use super::setup_error::{Doing, SetupResult};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, setsid};
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

/// Status of a launcher that did not get as far as the command; its word to the runner says why.
pub(super) const NOT_SET_UP: i32 = 125;

/// Asks the kernel to end this process when its parent dies. One that has died before is not noticed.
pub(super) fn die_with_parent() -> SetupResult<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing("prctl")
}

/// Cuts what binds this process to a terminal and to the files of the one who started it. Keys that are pressed there are none of the
/// command's business, and neither are signals that the terminal sends, such as that of Ctrl-C. Files from a number on are closed, which
/// nothing in this process may have in use.
pub(super) fn stand_alone(files: RawFd) -> SetupResult<()> {
    setsid().doing("a session of its own")?;
    // SAFETY: it takes numbers, and the caller says that nobody misses these files.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, files, libc::c_uint::MAX, 0) })
        .map(drop)
        .doing("closing files")
}

/// How a fork differs from fork(2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Fork<'a> {
    /// The child's parent is that of this process (clone(2), CLONE_PARENT).
    Beside,
    /// The child begins in a control group of version 2 (clone(2), CLONE_INTO_CGROUP).
    Into(&'a File),
}

/// CLONE_INTO_CGROUP of linux/sched.h, which does not fit into what libc has for it.
const INTO_GROUP: u64 = 1 << 33;

/// Forks by clone3(2). The child of one that goes beside this process has the signal of its end from this process's own.
///
/// # Safety
///
/// This process has one thread.
pub(super) unsafe fn fork_as(fork: Fork<'_>) -> nix::Result<ForkResult> {
    // SAFETY: all of it may be zero, which stands for what fork(2) does.
    let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
    match fork {
        Fork::Beside => how.flags = libc::CLONE_PARENT as u64,
        Fork::Into(group) => {
            how.flags = INTO_GROUP;
            how.exit_signal = libc::SIGCHLD as u64;
            how.cgroup = group.as_raw_fd() as u64;
        }
    }
    // SAFETY: the kernel reads as many bytes as are said. Without a stack the child goes on with a copy of this one, as after fork(2);
    // there is no other thread whose locks the copy could have taken along.
    let process = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut how,
            size_of::<libc::clone_args>(),
        )
    })?;
    Ok(match process {
        0 => ForkResult::Child,
        process => ForkResult::Parent {
            child: Pid::from_raw(process as i32),
        },
    })
}
