//! Runs the line's tasks on a machine: takes a lease, runs the plugin, keeps the lease alive, hands back what came of it.
//!
//! A plugin is a WebAssembly component that imports `wit/0.1.0` and nothing of the machine. [`worker::run`] is the loop, and [`mod@line`]
//! speaks with the lease desk. [`plugin`] runs one plugin on one task, and checks each of its calls. [`buildroot`] makes roots with the
//! platform's package manager and [`sandbox`] runs commands in them; `hold` keeps those in which a task failed, for its author. [`doctor`]
//! says what a machine lacks; [`machine`] has what others ask about it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod buildroot;
pub mod doctor;
mod hold;
pub mod line;
pub mod machine;
pub mod plugin;
pub mod sandbox;
#[cfg(test)]
mod testing;
pub mod worker;
