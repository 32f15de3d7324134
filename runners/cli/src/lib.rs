//! The whole line in one process on one machine, and the commands that people speak to it with.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod actor;
pub mod arguments;
mod bundled;
#[cfg(feature = "cloud")]
mod cloud;
mod commands;
mod compare;
mod ending;
mod here;
mod keyring;
mod log;
mod output;
pub mod pump;
mod seal;
mod state;
mod store;
mod terminal;
mod ticks;
pub mod up;
mod watch;

pub use commands::run;
pub use state::Folder;
