//! What goes wrong while a sandbox is set up, with what was being done.

use std::error::Error;

/// What could not be done for a sandbox, by whom it was made: the text goes to the runner, which has no other part in it.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub(super) struct SetupError {
    step: String,
    source: Box<dyn Error + Send + Sync>,
}

pub(super) type SetupResult<T> = Result<T, SetupError>;

/// Adds what was being done to an error.
pub(super) trait Doing<T> {
    fn doing(self, step: impl std::fmt::Display) -> SetupResult<T>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, step: impl std::fmt::Display) -> SetupResult<T> {
        self.map_err(|error| SetupError {
            step: step.to_string(),
            source: error.into(),
        })
    }
}
