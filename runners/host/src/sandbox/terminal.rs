//! A terminal of a sandbox: made in it, in its own devpts, and held at the other end by the host.
//!
//! The command has no more of the host than the terminal's inner end; the host reads and writes bytes at the outer one, and sets its
//! size (pty(7)).

use super::handles;
use super::plan::USER;
use super::setup_error::{Doing, SetupResult};
use millrace_core::hold::Size;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_file};
use nix::sys::stat::Mode;
use nix::unistd::setsid;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Where the sandbox's devpts gives out terminals (Linux, `filesystems/devpts.rst`).
const GIVES_OUT: &str = "/dev/pts/ptmx";

/// How long a sandbox may take until it is there; it takes some 50 ms.
const THERE: Duration = Duration::from_secs(30);

/// The outer end of a terminal. Reads and writes never wait.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Takes it from a launcher; none if that ended before.
    pub(super) fn receive(from: &UnixStream) -> io::Result<Option<Self>> {
        from.set_read_timeout(Some(THERE))?;
        let (_, mut given) = handles::take(from, &mut [0])?;
        let Some(handle) = given.pop() else {
            return Ok(None);
        };
        let flags = OFlag::from_bits_truncate(nix::fcntl::fcntl(&handle, nix::fcntl::F_GETFL)?);
        nix::fcntl::fcntl(&handle, nix::fcntl::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Some(Self(handle.into())))
    }

    /// Another handle on it.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Waits until there is something to be read or nobody is there any more, but no longer than this; whether that happened.
    pub fn is_readable_within(&self, time: Duration) -> bool {
        handles::is_readable_within(&self.0, time).unwrap_or(false)
    }

    /// What there is to be read now; nothing if nobody is there any more.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match (&self.0).read(bytes) {
            // The last of those who had the inner end open has closed it.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(0),
            other => other,
        }
    }

    /// Types as many of these keys as the terminal takes now.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.0).write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Makes it another size; what runs in the foreground is told by SIGWINCH.
    pub fn resize(&self, size: Size) -> io::Result<()> {
        Ok(set_size(&self.0, size)?)
    }
}

fn set_size(terminal: &impl AsRawFd, size: Size) -> Result<(), Errno> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: it takes a pointer to a `winsize` that lives through the call (ioctl_tty(2)).
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
        .map(drop)
}

/// In the first process of the sandbox: makes a terminal, hands its outer end to the host, and answers with the inner one.
pub(super) fn open(size: Size) -> SetupResult<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let outer = open_file(Path::new(GIVES_OUT), flags, Mode::empty()).doing("a terminal")?;
    let unlock: libc::c_int = 0;
    // SAFETY: it takes a pointer to a number that lives through the call (ioctl_tty(2)).
    Errno::result(unsafe { libc::ioctl(outer.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })
        .doing("a terminal's lock")?;
    // SAFETY: it takes flags of open(2), and answers with a new handle that nobody else knows of.
    let inner =
        Errno::result(unsafe { libc::ioctl(outer.as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) })
            .doing("a terminal's end")?;
    // SAFETY: the kernel has just opened it for this call.
    let inner = unsafe { OwnedFd::from_raw_fd(inner) };
    nix::unistd::fchown(&inner, Some(USER.into()), None).doing("a terminal's owner")?;
    set_size(&outer, size).doing("a terminal's size")?;
    // Standard input of the launcher is the way to the host.
    handles::give(io::stdin(), b"t", &[outer.as_fd()]).doing("handing a terminal out")?;
    Ok(inner)
}

/// In the process that becomes the command: sits down at a terminal, with nothing else open.
pub(super) fn sit_at(inner: OwnedFd) -> SetupResult<()> {
    setsid().doing("a session of its own")?;
    // SAFETY: it takes a number (ioctl_tty(2)).
    Errno::result(unsafe { libc::ioctl(inner.as_raw_fd(), libc::TIOCSCTTY, 0) })
        .doing("a controlling terminal")?;
    for stream in 0..3 {
        // SAFETY: these are the three streams, which this process may put something else in the place of.
        Errno::result(unsafe { libc::dup2(inner.as_raw_fd(), stream) })
            .doing("the terminal as a stream")?;
    }
    Ok(())
}
