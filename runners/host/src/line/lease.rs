//! Keeps a lease alive and a log flowing while a plugin runs in another thread.

use super::client::{Desk, DeskError};
use super::log::{self, TaskLog};
use super::patience::{pause, wait};
use super::stop::{Stop, Why};
use millrace_core::protocol::{Renewal, Renewed};
use millrace_core::task::{LEASE_MS, LeaseId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a lease is renewed at least: two renewals may be lost before it ends.
const RENEW: Duration = Duration::from_millis(LEASE_MS / 3);

/// How often at most: a runner that is told more has misheard.
const RENEW_MIN: Duration = Duration::from_secs(1);

/// How soon the threads here see that something has changed.
const LOOK: Duration = Duration::from_millis(50);

/// Longest pause that the line may ask for between two pieces of a log: a runner that is told more has misheard.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long the runner tries to hand in the rest of a log after the plugin has ended. A verdict without the end of its log is better
/// than none.
const LOG_REST: Duration = Duration::from_secs(120);

/// How long after a renewal the next one is due, by what the line wants, in seconds.
pub fn beat(told_s: Option<u32>) -> Duration {
    told_s.map_or(RENEW, |seconds| {
        Duration::from_secs(seconds.into()).clamp(RENEW_MIN, RENEW)
    })
}

/// What is known of a task while it runs, by the part that keeps its lease.
pub struct Keeper<'a> {
    pub desk: &'a Desk,
    pub lease_id: &'a LeaseId,
    /// How often it is renewed.
    pub beat: Duration,
    /// When its time is over.
    pub end: Instant,
    /// How long it may be silent.
    pub silence: Duration,
    pub log: &'a TaskLog,
    /// Whether it must be given up.
    pub stop: &'a Stop,
    /// Whether the runner stops.
    pub runner_stops: &'a AtomicBool,
}

impl Keeper<'_> {
    /// Renews until `done`; gives the task up when the lease is lost, at its end, after too long a silence, or when the runner stops.
    pub fn keep(&self, done: &AtomicBool) {
        let mut due = Instant::now() + self.beat;
        let mut failed = 0;
        while !done.load(Ordering::SeqCst) {
            self.look();
            // A task whose time is over still has to be answered for.
            if Instant::now() < due
                || matches!(self.stop.why(), Some(Why::RunnerStops | Why::LeaseLost(_)))
            {
                std::thread::sleep(LOOK);
                continue;
            }
            let renewal = Renewal {
                lease_id: self.lease_id.clone(),
                silent_s: silent_s(self.log.silent(), self.silence),
            };
            match self.desk.renew(&renewal) {
                Ok(Renewed { hand_back, .. }) => {
                    failed = 0;
                    if hand_back {
                        self.stop.raise(Why::RunnerStops);
                    }
                }
                Err(DeskError::LeaseLost(reason)) => self.stop.raise(Why::LeaseLost(reason)),
                Err(error @ DeskError::Unauthorized(_)) => {
                    self.stop.raise(Why::LeaseLost(error.to_string()))
                }
                // The line is away or in trouble. It may come back before it misses anybody, so the work goes on.
                Err(_) => failed += 1,
            }
            due = Instant::now()
                + if failed == 0 {
                    self.beat
                } else {
                    pause(failed)
                };
        }
    }

    fn look(&self) {
        if self.runner_stops.load(Ordering::SeqCst) {
            self.stop.raise(Why::RunnerStops);
        }
        if Instant::now() >= self.end {
            self.stop.raise(Why::TimedOut);
        }
        if self.log.silent() >= self.silence {
            self.stop.raise(Why::Silent);
        }
    }
}

/// What the line is told of a silence, in seconds: that it is long from half of what it may be.
pub fn silent_s(silent: Duration, silence: Duration) -> Option<u32> {
    (silent >= silence / 2).then(|| u32::try_from(silent.as_secs()).unwrap_or(u32::MAX))
}

/// Sends the log in chunks until the plugin has ended, and then its rest.
pub fn send_log(
    desk: &Desk,
    lease_id: &LeaseId,
    log: &TaskLog,
    stop: &Stop,
    plugin_ended: &AtomicBool,
) {
    let mut due = Instant::now() + log::pause(0);
    while !plugin_ended.load(Ordering::SeqCst) {
        if Instant::now() < due && !log.is_pressing() {
            std::thread::sleep(LOOK);
            continue;
        }
        match send_chunk(desk, lease_id, log) {
            Ok(told) => due = Instant::now() + rest(told, log.chunks()),
            Err(error) if error.is_passing() => drop(wait(pause(4), plugin_ended)),
            Err(DeskError::LeaseLost(reason)) => return stop.raise(Why::LeaseLost(reason)),
            Err(_) => return,
        }
    }
    send_rest(desk, lease_id, log, stop);
}

fn send_rest(desk: &Desk, lease_id: &LeaseId, log: &TaskLog, stop: &Stop) {
    let until = Instant::now() + LOG_REST;
    let mut failed = 0;
    while log.next_chunk().is_some() && Instant::now() < until {
        match send_chunk(desk, lease_id, log) {
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

/// Sends what is there; how long the line wants to wait for more, in seconds, if it says so.
fn send_chunk(desk: &Desk, lease_id: &LeaseId, log: &TaskLog) -> Result<Option<u32>, DeskError> {
    let Some((offset, bytes)) = log.next_chunk() else {
        return Ok(None);
    };
    let told = desk.log(lease_id, offset, &bytes)?.pause_s;
    log.sent(bytes.len());
    Ok(told)
}

/// How long after a chunk the next one is due, by what the line wants and the number of those that were sent.
pub fn rest(told: Option<u32>, chunks: usize) -> Duration {
    let told = Duration::from_secs(told.unwrap_or_default().into());
    told.min(PAUSE_MAX).max(log::pause(chunks))
}

#[test]
fn a_lease_is_renewed_as_often_as_the_line_wants_and_often_enough() {
    assert_eq!(beat(None), RENEW);
    assert_eq!(beat(Some(2)), Duration::from_secs(2));
    assert_eq!(beat(Some(0)), RENEW_MIN);
    assert_eq!(beat(Some(u32::MAX)), RENEW);
}

#[test]
fn a_silence_is_told_from_its_half_on() {
    let silence = Duration::from_secs(120);
    assert_eq!(silent_s(Duration::from_secs(59), silence), None);
    assert_eq!(silent_s(Duration::from_secs(61), silence), Some(61));
}

#[test]
fn a_log_comes_as_slowly_as_the_line_wants_or_as_its_length_asks_for() {
    assert_eq!(rest(None, 1), log::pause(1));
    assert_eq!(rest(Some(30), 1), Duration::from_secs(30));
    assert_eq!(rest(Some(u32::MAX), 1), PAUSE_MAX);
    assert_eq!(rest(Some(30), 5_000), log::pause(5_000));
}
