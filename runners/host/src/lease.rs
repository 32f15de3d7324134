//! Keeps a lease alive and a log flowing while a plugin runs in another thread.

use crate::desk::{Desk, DeskError, pause, wait};
use crate::log::{self, TaskLog};
use crate::stop::{Stop, Why};
use millrace_core::protocol::Holding;
use millrace_core::task::LEASE_MS;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a lease is renewed: two renewals may be lost before it ends.
const RENEW: Duration = Duration::from_millis(LEASE_MS / 3);

/// How soon the threads here see that something has changed.
const LOOK: Duration = Duration::from_millis(50);

/// Longest pause that the line may ask for between two pieces of a log: whoever is told more has misheard.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long the rest of a log is tried to be handed in after the plugin has ended. A verdict without the end of its log is better
/// than none.
const LOG_REST: Duration = Duration::from_secs(120);

/// Renews until `done`; gives the task up when the lease is lost, at its `end`, or when the runner stops.
pub fn keep(desk: &Desk, holding: &Holding, stop: &Stop, end: Instant, runner_stops: &AtomicBool, done: &AtomicBool) {
    let mut due = Instant::now() + RENEW;
    let mut failed = 0;
    while !done.load(Ordering::SeqCst) {
        if runner_stops.load(Ordering::SeqCst) {
            stop.raise(Why::RunnerStops);
        }
        if Instant::now() >= end {
            stop.raise(Why::TimedOut);
        }
        // A task whose time is over still has to be answered for.
        if Instant::now() < due || matches!(stop.why(), Some(Why::RunnerStops | Why::LeaseLost(_))) {
            std::thread::sleep(LOOK);
            continue;
        }
        match desk.renew(holding) {
            Ok(_) => failed = 0,
            Err(DeskError::LeaseLost(reason)) => stop.raise(Why::LeaseLost(reason)),
            Err(error @ DeskError::Unauthorized(_)) => stop.raise(Why::LeaseLost(error.to_string())),
            // The line is away or in trouble. It may come back before it misses anybody, so the work goes on.
            Err(_) => failed += 1,
        }
        due = Instant::now() + if failed == 0 { RENEW } else { pause(failed) };
    }
}

/// Sends the log in chunks until the plugin has ended, and then its rest.
pub fn send_log(desk: &Desk, holding: &Holding, log: &TaskLog, stop: &Stop, plugin_ended: &AtomicBool) {
    let mut due = Instant::now() + log::pause(0);
    while !plugin_ended.load(Ordering::SeqCst) {
        if Instant::now() < due && !log.is_pressing() {
            std::thread::sleep(LOOK);
            continue;
        }
        match send_chunk(desk, holding, log) {
            Ok(told) => due = Instant::now() + rest(told, log.chunks()),
            Err(error) if error.is_passing() => drop(wait(pause(4), plugin_ended)),
            Err(DeskError::LeaseLost(reason)) => return stop.raise(Why::LeaseLost(reason)),
            Err(_) => return,
        }
    }
    send_rest(desk, holding, log, stop);
}

fn send_rest(desk: &Desk, holding: &Holding, log: &TaskLog, stop: &Stop) {
    let until = Instant::now() + LOG_REST;
    let mut failed = 0;
    while log.next_chunk().is_some() && Instant::now() < until {
        match send_chunk(desk, holding, log) {
            Ok(_) => failed = 0,
            Err(error) if error.is_passing() => {
                failed += 1;
                if !wait(pause(failed), stop.flag()) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Sends what is there; how long the line wants to wait for more, in seconds, where it says so.
fn send_chunk(desk: &Desk, holding: &Holding, log: &TaskLog) -> Result<Option<u32>, DeskError> {
    let Some((offset, bytes)) = log.next_chunk() else { return Ok(None) };
    let told = desk.log(holding, offset, &bytes)?.pause_s;
    log.sent(bytes.len());
    Ok(told)
}

/// How long after a chunk the next one is due, by what the line wants and the number of those that were sent.
pub fn rest(told: Option<u32>, chunks: usize) -> Duration {
    let told = Duration::from_secs(told.unwrap_or_default().into());
    told.min(PAUSE_MAX).max(log::pause(chunks))
}

#[test]
fn a_log_comes_as_slowly_as_the_line_wants_or_as_its_length_asks_for() {
    assert_eq!(rest(None, 1), log::pause(1));
    assert_eq!(rest(Some(30), 1), Duration::from_secs(30));
    assert_eq!(rest(Some(u32::MAX), 1), PAUSE_MAX);
    assert_eq!(rest(Some(30), 5_000), log::pause(5_000));
}
