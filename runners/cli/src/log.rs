//! The log of a command, on standard error.

use crate::arguments::{Arguments, Command, LogFormat, Runner};
use millrace_log::{Format, LevelsError};
use tracing::level_filters::LevelFilter;

/// Begins the log of a command. What runs for days says what it does; a command that answers at once says in its answer what it did.
pub(crate) fn start(arguments: &Arguments) -> Result<(), LevelsError> {
    let format = match arguments.log {
        LogFormat::Lines => Format::Lines,
        LogFormat::Json => Format::Json,
    };
    let usual = match arguments.command {
        Command::Up(_) | Command::Runner(Runner::Run { .. }) => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    millrace_log::start(format, usual)
}
