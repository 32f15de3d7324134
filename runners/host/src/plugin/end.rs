//! How the run of a plugin ends.

use super::bindings;

/// How a run ended, whatever it was that ended it.
#[derive(Debug)]
pub enum End {
    Answered(Result<bindings::Outcome, bindings::Failure>),
    /// It was given up from outside.
    Stopped,
    /// The task's time is over.
    TimedOut,
    /// The task said nothing for longer than it may.
    Silent,
    /// It thought for too long by itself.
    Loops,
    /// It wanted more memory than there is for it, in bytes.
    OutOfMemory(usize),
    /// It called itself too deeply.
    StackOverflow,
    Exited(i32),
    /// It trapped, for instance after a panic, whose words are in the log.
    Trapped(String),
    /// The runner could not do its part.
    Trouble(String),
}

/// Why the host ended a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Interrupt {
    /// It is given up.
    #[error("stopped")]
    Stopped,
    /// The task's time is over.
    #[error("the task's time is over")]
    TimedOut,
    /// It thinks for too long.
    #[error("it thinks for too long")]
    Loops,
    /// The runner could not do its part.
    #[error("{0}")]
    Trouble(String),
}
