//! How the commands print: lines for people, JSON for scripts.

use anyhow::Result;
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For people, or for scripts.
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a script reads it.
    pub const fn is_json(self) -> bool {
        self.json
    }

    /// One thing: as a JSON object a line, or as `text` says it.
    pub fn one<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        let line = if self.json {
            serde_json::to_string(value)?
        } else {
            text(value)
        };
        self.line(&line)
    }

    /// Several things; `none` is what people read if there are none.
    pub fn list<T: Serialize>(
        self,
        values: &[T],
        none: &str,
        text: impl Fn(&T) -> String,
    ) -> Result<()> {
        if values.is_empty() && !self.json {
            return self.line(none);
        }
        values.iter().try_for_each(|value| self.one(value, &text))
    }

    /// Something that only people read.
    pub fn say(self, line: &str) -> Result<()> {
        if self.json { Ok(()) } else { self.line(line) }
    }

    /// A line whatever was asked for.
    fn line(self, line: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", harmless(line)).and_then(|()| out.flush()) {
            // The reader has seen enough: `millrace builds | head -1`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => Ok(other?),
        }
    }
}

/// A text from anywhere as a terminal may have it: what would move its cursor, change its title or type for the user
/// is written out, as `cat -v` does. Builds print what they like, and so do commits.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            letter if !acts(letter) => shown.push(letter),
            '\u{7f}' => shown.push_str("^?"),
            letter if letter.is_ascii() => shown.extend(['^', char::from(letter as u8 + b'@')]),
            letter => shown.extend(letter.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// Takes the lines that have ended, and at the last call what is left.
pub(crate) fn whole_lines(bytes: &mut Vec<u8>, last: bool) -> Vec<String> {
    let end = if last {
        bytes.len()
    } else {
        bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1)
    };
    let taken: Vec<u8> = bytes.drain(..end).collect();
    String::from_utf8_lossy(&taken)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A span of time for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, ms % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        let title = "\u{1b}]0;owned\u{7} \u{1b}[31mred\r\u{7f}\u{9b}2J";
        assert_eq!(harmless(title), r"^[]0;owned^G ^[[31mred^M^?\u{9b}2J");
        assert!(matches!(
            harmless("gcc: »ünïcödé«\n\tas it is"),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn a_line_of_a_log_is_told_when_it_is_whole() {
        let mut bytes = b"one\ntw".to_vec();
        assert_eq!(whole_lines(&mut bytes, false), ["one"]);
        bytes.extend(b"o\n\nthree");
        assert_eq!(whole_lines(&mut bytes, false), ["two", ""]);
        assert_eq!(whole_lines(&mut bytes, true), ["three"]);
        assert!(whole_lines(&mut bytes, true).is_empty());
    }
}
