//! How a command ends, and the exit status that says so.

use millrace_control::ControlError;
use millrace_source::ReferenceError;
use std::fmt;
use std::process::ExitCode;

/// The exit status of a command line that makes no sense, as clap has it.
pub(crate) const USAGE: u8 = 2;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It did what it should.
    Done,
    /// The build that it followed did not end well.
    BuildFailed,
    /// No task may run on the machine that it looked at.
    Unfit,
    /// What it ran elsewhere ended with this status.
    Status(u8),
}

impl Ending {
    /// How a command ends that followed a build.
    pub(crate) const fn of_build(good: bool) -> Self {
        match good {
            true => Self::Done,
            false => Self::BuildFailed,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::SUCCESS,
            Ending::BuildFailed | Ending::Unfit => Self::from(1),
            Ending::Status(status) => Self::from(status),
        }
    }
}

/// What was named does not exist.
#[derive(Debug)]
pub(crate) struct NotFound(pub String);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotFound {}

/// The exit status of a command that could not do what it should.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    let is_not_found = error.is::<NotFound>()
        || matches!(error.downcast_ref(), Some(ControlError::NotFound(_)))
        || matches!(error.downcast_ref(), Some(ReferenceError::NotFound { .. }));
    ExitCode::from(if is_not_found { 3 } else { 4 })
}
