//! Fetches what a task needs before its plugin runs: the plugin, and the lock that its roots shall follow.

use super::report::ANSWER;
use super::runner::Runner;
use crate::line::client::DeskError;
use crate::line::patience::patiently;
use crate::line::stop::Stop;
use crate::plugin::engine::{EngineError, Plugin};
use millrace_core::Digest;
use millrace_core::roots::LOCK_BYTES_MAX;
use std::io::{self, Write};

/// Largest plugin, in bytes: a Python one has 18 MB.
const PLUGIN_BYTES_MAX: u64 = 256 << 20;

/// Why there is no plugin to run.
pub(super) enum PluginError {
    /// It did not come.
    Desk(DeskError),
    /// It cannot be run here.
    Engine(EngineError),
}

/// A compiled plugin: from memory, from disk, or from the line.
pub(super) fn plugin(runner: &Runner, digest: &Digest, stop: &Stop) -> Result<Plugin, PluginError> {
    if let Some(plugin) = runner.engine.loaded(digest) {
        return Ok(plugin);
    }
    let component = download(runner, digest, PLUGIN_BYTES_MAX, stop).map_err(PluginError::Desk)?;
    runner
        .engine
        .compile(digest, &component)
        .map_err(PluginError::Engine)
}

/// The text of a lock.
pub(super) fn lock(runner: &Runner, digest: &Digest, stop: &Stop) -> Result<Vec<u8>, DeskError> {
    download(runner, digest, LOCK_BYTES_MAX, stop)
}

fn download(
    runner: &Runner,
    digest: &Digest,
    bytes_max: u64,
    stop: &Stop,
) -> Result<Vec<u8>, DeskError> {
    let fetch = || {
        let mut bytes = Bounded {
            bytes: Vec::new(),
            bytes_max,
        };
        runner
            .services
            .desk
            .download(digest, &mut bytes)
            .map(|_| bytes.bytes)
    };
    patiently(ANSWER, stop.flag(), fetch)
}

/// Bytes in memory, up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.bytes_max {
            return Err(io::Error::other(format!(
                "it is larger than {} bytes",
                self.bytes_max
            )));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
