//! What the starter and the launchers do as processes, before they are anything else.

use super::setup_error::{Doing, SetupResult};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::setsid;
use std::os::fd::RawFd;

/// Status of a launcher that did not get as far as the command; its word to the runner says why.
pub(super) const NOT_SET_UP: i32 = 125;

/// Asks the kernel to end this process when its parent dies. One that has died before is not noticed.
pub(super) fn die_with_parent() -> SetupResult<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing("prctl")
}

/// Cuts what binds this process to a terminal and to the files of who started it: keys that are pressed there are none of the
/// command's business, nor are signals that the terminal sends, such as that of Ctrl-C. Files from a number on are closed, which nothing in
/// this process may have in use.
pub(super) fn stand_alone(files: RawFd) -> SetupResult<()> {
    setsid().doing("a session of its own")?;
    // SAFETY: it takes numbers, and the caller says that nobody misses these files.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, files, libc::c_uint::MAX, 0) })
        .map(drop)
        .doing("closing files")
}
