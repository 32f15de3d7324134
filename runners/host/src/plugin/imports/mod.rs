//! What plugins import, one file per interface of `wit/0.1.0`. Each call is checked by `capability` first.
//!
//! What a plugin can do something about goes back to it as an error. Trouble of the machine does not: it ends the plugin, and the
//! task goes back to the line.

mod artifacts;
mod buildroot;
mod command;
mod files;
mod log;

use crate::plugin::bindings;
use crate::plugin::end::Interrupt;

impl bindings::types::Host for crate::plugin::job::Job {}

/// Ends the plugin, since the runner cannot do its part.
fn trouble(problem: impl std::fmt::Display) -> wasmtime::Error {
    wasmtime::Error::new(Interrupt::Trouble(problem.to_string()))
}
