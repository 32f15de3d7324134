//! What a command reads: bytes on its standard input, or keys that somebody types at a terminal.

use super::terminal::Terminal;
use millrace_core::hold::Size;
use std::io::{self, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// What a command is given to read.
pub(super) enum CommandInput<'a> {
    Bytes,
    /// A terminal of this size, and who gets its other end.
    Terminal(Size, &'a mut dyn FnMut(Terminal)),
}

impl CommandInput<'_> {
    pub(super) const fn size(&self) -> Option<Size> {
        match self {
            Self::Bytes => None,
            Self::Terminal(size, _) => Some(*size),
        }
    }

    /// What the launcher has as standard input, and the other end of it.
    pub(super) fn stdin(&self) -> io::Result<(OwnedFd, InputEnd)> {
        match self {
            Self::Bytes => io::pipe().map(|(theirs, own)| (theirs.into(), InputEnd::Bytes(own))),
            Self::Terminal(..) => {
                UnixStream::pair().map(|(own, theirs)| (theirs.into(), InputEnd::Terminal(own)))
            }
        }
    }
}

/// The other end of a launcher's standard input.
pub(super) enum InputEnd {
    /// Where to write what the command is to read.
    Bytes(PipeWriter),
    /// Where the other end of a terminal will come from.
    Terminal(UnixStream),
}

/// Writes what a command is to read; in a thread of its own, if there is anything.
pub(super) fn feed_with(mut pipe: PipeWriter, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        // A command that does not read to the end is no error.
        std::thread::spawn(move || pipe.write_all(&bytes));
    }
}
