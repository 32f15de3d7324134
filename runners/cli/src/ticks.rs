//! The line's ticks, in which time alone decides: but never by a clock that has just been set, nor for a time in which the line was away.

use crate::pump::OUT_MS;
use crate::state::now;
use millrace_core::Timestamp;
use millrace_store::local::LocalStore;
use millrace_store::{AdvanceError, chain};
use std::time::{Duration, Instant};
use tracing::error;

/// How often time alone gets to decide: a lease that is over is noticed within a second.
const TICK: Duration = Duration::from_secs(1);

/// How long nobody's lease is over after the line was away or its clock was set: runners find it again within 15 s, and say that they are
/// still at it within two more.
const GRACE: Duration = Duration::from_secs(20);

/// Longest that a tick may come late, or the clock of the day may go ahead of one that nobody sets. A busy machine stands still for a
/// second or two, and renewals that come this late lose no lease.
const LATE: Duration = Duration::from_secs(5);

/// How far the clock of the day may go back without anybody waiting for it: less than a tick.
const BACK: Duration = Duration::from_millis(500);

/// Ticks for ever.
pub async fn run(store: LocalStore) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut clocks = Clocks::new(Instant::now(), now());
    if let Err(problem) = set_back(&store, now()).await {
        error!(
            problem = chain(&problem),
            "the ends of leases cannot be set again"
        );
    }
    loop {
        interval.tick().await;
        let (at, time) = (Instant::now(), now());
        let problem = match clocks.read(at, time) {
            Reading::SetBack => set_back(&store, time).await.err(),
            Reading::Decide => millrace_orchestrator::tick(&store, time).await.err(),
            Reading::Wait => None,
        };
        if let Some(problem) = problem {
            error!(
                problem = chain(&problem),
                "the clock's tick has failed; it is tried again in a second"
            );
        }
    }
}

/// Ends that a clock ahead of time has set are set again, as if what they end began now.
async fn set_back(store: &LocalStore, now: Timestamp) -> Result<(), AdvanceError> {
    store.hide_no_longer_than(now.plus_ms(OUT_MS)).await?;
    millrace_orchestrator::clock_set_back(store, now)
        .await
        .map(drop)
}

/// What a tick does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Decide,
    /// Nothing yet: runners that work must be able to say so first.
    Wait,
    /// The clock was set back.
    SetBack,
}

/// The clock of the day beside one that nobody sets.
#[derive(Debug)]
struct Clocks {
    last: (Instant, Timestamp),
    decide_from: Instant,
}

impl Clocks {
    /// A line that begins was away before.
    fn new(at: Instant, time: Timestamp) -> Self {
        Self {
            last: (at, time),
            decide_from: at + GRACE,
        }
    }

    fn read(&mut self, at: Instant, time: Timestamp) -> Reading {
        let (last_at, last_time) = std::mem::replace(&mut self.last, (at, time));
        let passed = at.saturating_duration_since(last_at);
        let (ahead, behind) = (
            Duration::from_millis(time.since_ms(last_time)),
            Duration::from_millis(last_time.since_ms(time)),
        );
        if passed > LATE || ahead > passed + LATE {
            self.decide_from = at + GRACE;
        }
        match behind > BACK {
            true => Reading::SetBack,
            false if at < self.decide_from => Reading::Wait,
            false => Reading::Decide,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ticks do, each so many seconds after the one before by a clock that nobody sets, and by the clock of the day.
    fn readings(ticks: &[(u64, i64)]) -> Vec<Reading> {
        let (mut at, mut time) = (Instant::now(), 1_000_000_000_u64);
        let mut clocks = Clocks::new(at, Timestamp(time));
        let read = |(seconds, of_the_day): &(u64, i64)| {
            at += Duration::from_secs(*seconds);
            time = time.saturating_add_signed(of_the_day * 1000);
            clocks.read(at, Timestamp(time))
        };
        ticks.iter().map(read).collect()
    }

    #[test]
    fn nobody_loses_a_lease_for_a_time_in_which_the_line_was_away() {
        let at_its_start = [(1, 1); 21];
        assert_eq!(
            readings(&at_its_start)[18..],
            [Reading::Wait, Reading::Decide, Reading::Decide]
        );
        let suspended = [vec![(1, 1); 20], vec![(300, 300), (1, 1)], vec![(1, 1); 20]].concat();
        assert_eq!(
            readings(&suspended)[19..22],
            [Reading::Decide, Reading::Wait, Reading::Wait]
        );
        assert_eq!(readings(&suspended).last(), Some(&Reading::Decide));
    }

    #[test]
    fn nobody_loses_a_lease_because_the_clock_was_set() {
        let ahead = [vec![(1, 1); 20], vec![(1, 3600), (1, 1)], vec![(1, 1); 20]].concat();
        assert_eq!(
            readings(&ahead)[19..22],
            [Reading::Decide, Reading::Wait, Reading::Wait]
        );
        assert_eq!(readings(&ahead).last(), Some(&Reading::Decide));
        let back = [vec![(1, 1); 20], vec![(1, -3600), (1, 1)]].concat();
        assert_eq!(
            readings(&back)[19..],
            [Reading::Decide, Reading::SetBack, Reading::Decide]
        );
    }

    #[test]
    fn a_machine_that_is_busy_is_not_taken_for_one_that_was_away() {
        let busy = [vec![(1, 1); 20], vec![(4, 4), (1, 3), (3, 1)]].concat();
        assert_eq!(readings(&busy)[19..], [Reading::Decide; 4]);
    }
}
