//! The plugin interface as wasmtime makes it of `wit/0.1.0`.
#![allow(missing_docs, reason = "the words stand in the WIT files")]

wasmtime::component::bindgen!({
    path: "../../wit/0.1.0",
    world: "plugin",
    imports: { default: trappable },
    with: { "millrace:plugin/buildroot.root": crate::plugin::imports::TaskRoot },
});

pub use millrace::plugin::{artifacts, buildroot, command, files, log, types};
