//! The plugin interface as wasmtime makes it of `wit/0.1.0`.
#![allow(missing_docs, reason = "the words stand in the WIT files")]

wasmtime::component::bindgen!({
    path: "../../wit/0.1.0",
    world: "plugin",
    imports: { default: trappable },
    with: { "millrace:plugin/buildroot.root": crate::plugin::task_root::TaskRoot },
});

pub use millrace::plugin::{artifacts, buildroot, command, files, log, types};

impl From<&millrace_core::task::Artifact> for types::Artifact {
    fn from(artifact: &millrace_core::task::Artifact) -> Self {
        let rpm = artifact.rpm.as_ref().map(|rpm| types::Nevra {
            name: rpm.name.clone(),
            epoch: rpm.epoch,
            version: rpm.version.clone(),
            release: rpm.release.clone(),
            arch: rpm.arch.clone(),
        });
        Self {
            name: artifact.name.clone(),
            digest: artifact.digest.to_string(),
            size: artifact.size,
            rpm,
        }
    }
}
