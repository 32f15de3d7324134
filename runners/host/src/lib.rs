//! Runs the line's tasks on a machine: takes a lease, runs the plugin, keeps the lease alive, hands back what came of it.
//!
//! A plugin is a WebAssembly component that imports `wit/0.1.0` and nothing of the machine. [`worker::run`] is the loop;
//! [`engine`] runs one plugin on one [`job::Job`]; [`imports`] has what plugins call, a file per interface, each call checked by
//! [`capability`]; [`buildroot`] makes roots with the platform's package manager and [`sandbox`] runs commands in them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod arch;
pub mod bindings;
pub mod buildroot;
pub mod capability;
pub mod desk;
pub mod doctor;
pub mod emulation;
pub mod engine;
pub mod folder;
pub mod header;
mod hold;
pub mod image;
pub mod imports;
pub mod job;
pub mod lease;
pub mod log;
pub mod machine;
pub mod notice;
pub mod outcome;
mod removal;
pub mod sandbox;
mod session;
pub mod stop;
pub mod subordinate;
pub mod trace;
mod trust;
pub mod wasi;
pub mod worker;
