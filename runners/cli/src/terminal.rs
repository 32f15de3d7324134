//! The terminal that somebody sits at: taken as it is, key by key, and given back as it was.

use anyhow::{Context, Result};
use millrace_core::hold::Size;
use nix::libc;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read};
use tokio::sync::mpsc::{Receiver, channel};

/// Keys read at a time.
const PIECE_BYTES: usize = 4096;

/// Pieces that wait to be sent; a paste of more waits.
const PIECES_MAX: usize = 4;

/// A terminal that hands every key on and does nothing by itself, until this is dropped: at the end, after an error, or in a panic.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Takes the terminal at standard input.
    pub(crate) fn begin() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("the terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &raw).context("the terminal")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

/// Whether somebody sits there: what is typed and what is shown are of a terminal.
pub(crate) fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// How large it is.
pub(crate) fn size() -> Size {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: it takes a pointer to a `winsize` that lives through the call (ioctl_tty(2)).
    let asked = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if asked == 0 && size.ws_col > 0 && size.ws_row > 0 {
        Size {
            columns: size.ws_col,
            rows: size.ws_row,
        }
    } else {
        Size::default()
    }
}

/// Keys as they are pressed; it ends where standard input does. The thread that reads them goes with the process.
pub(crate) fn keys() -> Receiver<Vec<u8>> {
    let (give, take) = channel(PIECES_MAX);
    std::thread::spawn(move || {
        let mut bytes = [0; PIECE_BYTES];
        while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut bytes) {
            if give.blocking_send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    take
}

/// Looks for `~.` at the beginning of a line, which leaves whatever else works or does not, as with ssh; `~~` there is a `~`.
#[derive(Debug)]
pub(crate) struct Escapes {
    line_begins: bool,
    tilde: bool,
}

impl Default for Escapes {
    fn default() -> Self {
        Self {
            line_begins: true,
            tilde: false,
        }
    }
}

impl Escapes {
    /// The keys to be typed of those that were pressed, and whether to leave.
    pub(crate) fn take(&mut self, pressed: &[u8]) -> (Vec<u8>, bool) {
        let mut keys = Vec::with_capacity(pressed.len() + 1);
        for key in pressed {
            match (std::mem::take(&mut self.tilde), key) {
                (true, b'.') => return (keys, true),
                (true, b'~') => keys.push(b'~'),
                (true, other) => keys.extend([b'~', *other]),
                (false, b'~') if self.line_begins => self.tilde = true,
                (false, other) => keys.push(*other),
            }
            self.line_begins = matches!(key, b'\r' | b'\n');
        }
        (keys, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&str]) -> (String, bool) {
        let mut escapes = Escapes::default();
        let mut all = Vec::new();
        for piece in pieces {
            let (keys, leaves) = escapes.take(piece.as_bytes());
            all.extend(keys);
            if leaves {
                return (String::from_utf8(all).unwrap(), true);
            }
        }
        (String::from_utf8(all).unwrap(), false)
    }

    #[test]
    fn a_tilde_and_a_dot_leave_only_at_the_beginning_of_a_line() {
        assert_eq!(typed(&["~."]), (String::new(), true));
        assert_eq!(
            typed(&["ls\r", "~", ".", "rest"]),
            ("ls\r".to_owned(), true)
        );
        assert_eq!(typed(&["cd ~.\r"]), ("cd ~.\r".to_owned(), false));
        assert_eq!(typed(&["~~.\r"]), ("~.\r".to_owned(), false));
        assert_eq!(typed(&["~/bin\r"]), ("~/bin\r".to_owned(), false));
        assert_eq!(typed(&["~\r~."]), ("~\r".to_owned(), true));
    }
}
