//! Why a task failed, found in its log: what kind of trouble it was, and which line says so.
//!
//! What is found before a phase began is forgotten when the next begins: it did no harm. In the phase that failed the most telling kind
//! counts, and of that the first line.

mod patterns;

use serde::{Deserialize, Serialize};

/// Longest line that is looked at, and kept, in bytes: what tells people something is shorter, and the log has the whole.
const LINE_BYTES_MAX: usize = 500;

/// What kind of trouble a task had. The order is that of how telling they are: a compiler that ran out of disk complains of much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It took longer than it may, or was silent for longer.
    TimedOut,
    /// It filled the disk that it may have.
    OutOfDisk,
    /// It wanted more memory than it may have.
    OutOfMemory,
    /// It printed more than it may.
    TooMuchOutput,
    /// Something that it needs is not in the buildroot.
    MissingBuildRequires,
    /// Files were installed that the spec does not list.
    UnpackagedFiles,
    /// The spec lists files that were not installed.
    MissingFiles,
    /// A patch does not fit the source.
    PatchDoesNotApply,
    /// It wanted the network, which there is none of.
    NetworkWanted,
    TestFailed,
    /// The compiler or the linker refused the source.
    DoesNotCompile,
}

impl Kind {
    /// In a few words, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::TimedOut => "out of time",
            Self::OutOfDisk => "out of disk",
            Self::OutOfMemory => "out of memory",
            Self::TooMuchOutput => "too much output",
            Self::MissingBuildRequires => "missing BuildRequires",
            Self::UnpackagedFiles => "unpackaged files",
            Self::MissingFiles => "files in the spec that were not installed",
            Self::PatchDoesNotApply => "a patch does not apply",
            Self::NetworkWanted => "it wants the network",
            Self::TestFailed => "a test failed",
            Self::DoesNotCompile => "it does not compile",
        }
    }
}

/// Why a task failed, by its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What kind of trouble.
    pub kind: Kind,
    /// The line of the log that says so, counted from 1.
    pub line: u64,
    pub text: String,
}

/// Where a build is, as rpmbuild says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Outside of a spec's scriptlets.
    #[default]
    Other,
    Prep,
    Build,
    Install,
    Check,
}

/// Reads a log as it is written.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    /// The beginning of the line that is not at its end yet.
    line: Vec<u8>,
    lines: u64,
    phase: Phase,
    best: Option<Cause>,
}

impl Classifier {
    /// More of the log.
    pub fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece
                .strip_suffix(b"\n")
                .map_or((piece, false), |text| (text, true));
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        self.read(String::from_utf8_lossy(&line).trim_end_matches('\r'));
    }

    fn read(&mut self, text: &str) {
        if let Some(phase) = patterns::begins(text) {
            (self.phase, self.best) = (phase, None);
            return;
        }
        let Some(kind) = patterns::kind_of(text, self.phase) else {
            return;
        };
        if self.best.as_ref().is_none_or(|best| kind < best.kind) {
            self.best = Some(Cause {
                kind,
                line: self.lines,
                text: text.trim().to_owned(),
            });
        }
    }

    /// The cause that was found, for a task that failed.
    pub fn cause(mut self) -> Option<Cause> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.best
    }
}

#[cfg(test)]
mod tests;
