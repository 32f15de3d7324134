//! Runs a plugin on a task: [`engine`] is wasmtime, [`job`] what the plugin works on, [`imports`] what it calls.

pub mod bindings;
pub mod capability;
pub(crate) mod command_line;
pub mod end;
pub mod engine;
pub(crate) mod failed;
pub mod folder;
pub mod image;
pub mod imports;
pub mod job;
pub mod limiter;
pub mod outcome;
pub mod services;
pub mod task_root;
pub mod trace;
pub mod wasi;
mod wasi_state;
