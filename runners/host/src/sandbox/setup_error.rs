//! What goes wrong while a sandbox is set up, with what was being done.

pub(super) type SetupResult<T> = Result<T, String>;

/// Adds what was being done to an error.
pub(super) trait Doing<T> {
    fn doing(self, what: impl std::fmt::Display) -> SetupResult<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl std::fmt::Display) -> SetupResult<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}
