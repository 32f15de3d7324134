//! Failures in the words of the person who must act.

use crate::types::Blame;
use crate::{Failure, artifacts, buildroot, command, files};

impl Failure {
    /// The author of the package must act; trying again does not help.
    pub fn package(reason: impl Into<String>) -> Self {
        Self {
            blame: Blame::Package,
            reason: reason.into(),
        }
    }

    /// The person who keeps the step's configuration or the platform must act.
    pub fn configuration(reason: impl Into<String>) -> Self {
        Self {
            blame: Blame::Configuration,
            reason: reason.into(),
        }
    }

    /// Nobody must act: another lease may help.
    pub fn environment(reason: impl Into<String>) -> Self {
        Self {
            blame: Blame::Environment,
            reason: reason.into(),
        }
    }

    /// The author of the plugin must act.
    pub fn plugin(reason: impl Into<String>) -> Self {
        Self {
            blame: Blame::Plugin,
            reason: reason.into(),
        }
    }

    /// The same failure with a word on what was being done.
    #[must_use]
    pub fn while_doing(self, what: &str) -> Self {
        Self {
            reason: format!("{what}: {}", self.reason),
            ..self
        }
    }
}

impl From<files::Error> for Failure {
    fn from(error: files::Error) -> Self {
        match error {
            files::Error::Refused(path) => {
                Self::package(format!("`{path}` leads out of the task's folder"))
            }
            files::Error::NotFound(path) => Self::package(format!("there is no `{path}`")),
            files::Error::NotAFile(path) => {
                Self::package(format!("`{path}` is not a plain file or folder"))
            }
            files::Error::NotText(path) => Self::package(format!("`{path}` is not UTF-8")),
            files::Error::TooLarge(path) => Self::package(format!("`{path}` is too large")),
            files::Error::Full(path) => Self::package(format!(
                "no space left for `{path}`: the task has used all that its step may (`disk_bytes`)"
            )),
        }
    }
}

impl From<artifacts::Error> for Failure {
    fn from(error: artifacts::Error) -> Self {
        match error {
            artifacts::Error::Unknown(digest) => {
                Self::plugin(format!("{digest} is no input of this task"))
            }
            artifacts::Error::Refused(reason) => Self::package(reason),
        }
    }
}

impl From<buildroot::Error> for Failure {
    fn from(error: buildroot::Error) -> Self {
        match error {
            buildroot::Error::Unresolved(problems) => Self::package(problems.join("\n")),
            buildroot::Error::Repository(problem) => Self::environment(problem),
            buildroot::Error::Transaction(problem) => Self::package(problem),
            buildroot::Error::Refused(problem) => Self::configuration(problem),
        }
    }
}

/// Limits are the package's fault until its author says otherwise: the platform sets them wide.
impl From<command::Error> for Failure {
    fn from(error: command::Error) -> Self {
        match error {
            command::Error::TimedOut(seconds) => Self::package(format!(
                "stopped: it was not done after {seconds} s (`time_s` of the step's limits)"
            )),
            command::Error::OutOfMemory(bytes) => Self::package(format!(
                "stopped: it needs more memory than {} (`memory_bytes` of the step's limits)",
                size(bytes)
            )),
            command::Error::OutOfSpace(bytes) => Self::package(format!(
                "stopped: it fills more disk than {} (`disk_bytes` of the step's limits)",
                size(bytes)
            )),
            command::Error::OutputLimit(bytes) => Self::package(format!(
                "stopped: it prints more than {} (`log_bytes` of the step's limits)",
                size(bytes)
            )),
            command::Error::Refused(problem) => Self::plugin(problem),
        }
    }
}

/// A number of bytes as people say it.
fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} KiB", bytes >> 10),
        10_000_000.. => format!("{} MiB", bytes >> 20),
    }
}

/// The last `lines` lines of a text that say anything.
pub fn tail_of(text: &str, lines: usize) -> String {
    let said: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    said[said.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_which_one_it_was() {
        let failure = Failure::from(command::Error::OutOfMemory(256 << 20)).while_doing("%build");
        assert_eq!(
            failure.reason,
            "%build: stopped: it needs more memory than 256 MiB (`memory_bytes` of the step's limits)"
        );
        assert!(matches!(failure.blame, Blame::Package));
    }

    #[test]
    fn a_tail_has_the_last_lines_that_say_something() {
        assert_eq!(tail_of("one\ntwo  \n\nthree\n\n", 2), "two\nthree");
        assert_eq!(tail_of("one", 5), "one");
        assert_eq!(tail_of("", 5), "");
    }
}
