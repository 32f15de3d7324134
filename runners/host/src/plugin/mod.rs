//! Runs a plugin on a task: [`engine`] is wasmtime, [`job`] what the plugin works on, [`imports`] what it calls.

pub mod bindings;
pub mod capability;
pub mod engine;
pub mod folder;
pub mod image;
pub mod imports;
pub mod job;
pub mod machine;
pub mod outcome;
pub mod trace;
pub mod wasi;
