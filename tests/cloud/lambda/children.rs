//! The processes of functions: stopped, continued and ended with everything that they started.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// All processes of all functions. A test may have its own before the functions start, for a proxy that ends one of them.
#[derive(Debug, Clone, Default)]
pub struct Children(Arc<Mutex<BTreeMap<String, Family>>>);

#[derive(Debug, Default)]
struct Family {
    alive: Vec<Pid>,
    /// Times that all of them were ended: what began before is not used again.
    ended: u64,
}

impl Children {
    /// Ends every process of a function now, wherever it is; what they do is not finished.
    pub fn end(&self, function: &str) {
        let mut families = self.0.lock().unwrap();
        let family = families.entry(function.to_owned()).or_default();
        family.ended += 1;
        for child in family.alive.drain(..) {
            signal(child, Signal::SIGKILL);
        }
    }

    /// The processes of a function that are alive.
    #[cfg_attr(test, allow(dead_code, reason = "the bench asks"))]
    pub fn of(&self, function: &str) -> Vec<i32> {
        let families = self.0.lock().unwrap();
        families
            .get(function)
            .map(|family| family.alive.iter().map(|pid| pid.as_raw()).collect())
            .unwrap_or_default()
    }

    /// Ends every process.
    pub fn end_all(&self) {
        let names: Vec<String> = self.0.lock().unwrap().keys().cloned().collect();
        for name in names {
            self.end(&name);
        }
    }

    /// Takes note of a process that leads a group of its own.
    pub(super) fn born(&self, function: &str, child: Pid) -> u64 {
        let mut families = self.0.lock().unwrap();
        let family = families.entry(function.to_owned()).or_default();
        family.alive.push(child);
        family.ended
    }

    /// Whether all of a function's processes were ended since.
    pub(super) fn ended_since(&self, function: &str, birth: u64) -> bool {
        self.0
            .lock()
            .unwrap()
            .get(function)
            .is_none_or(|family| family.ended != birth)
    }

    /// Ends one with everything that it started, once: later its number may be another's.
    pub(super) fn bury(&self, function: &str, child: Pid) {
        let mut families = self.0.lock().unwrap();
        let alive = &mut families.entry(function.to_owned()).or_default().alive;
        if let Some(place) = alive.iter().position(|other| *other == child) {
            alive.remove(place);
            signal(child, Signal::SIGKILL);
        }
    }
}

/// Tells a whole group; one that is gone hears nothing.
pub(super) fn signal(child: Pid, signal: Signal) {
    let _ = killpg(child, signal);
}
