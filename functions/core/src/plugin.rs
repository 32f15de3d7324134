//! A plugin as the line knows it.

use crate::{Digest, PluginName};
use serde::{Deserialize, Serialize};

/// A plugin as it is registered: what a step's `plugin` stands for from the next plan on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    pub name: PluginName,
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// How a component begins (WebAssembly component model, Binary.md): magic, version 13, layer 1.
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// Whether these bytes begin as a WebAssembly component does.
pub fn is_component(bytes: &[u8]) -> bool {
    bytes.starts_with(COMPONENT_PREAMBLE)
}
