//! A line's clock that was set back. Leases and pauses that were given by the clock as it was before would else last for as long as it was
//! ahead, and everything that waits for their end would wait as long.

use super::event::LeaseRenewal;
use super::model::Build;
use crate::Timestamp;
use crate::task::{LEASE_MS, PAUSES_MS, Task, TaskState};

/// No lease and no pause ends later than this after now, in milliseconds, unless it was given by a clock that was ahead.
pub const AHEAD_MS: u64 = if LEASE_MS > PAUSES_MS[PAUSES_MS.len() - 1] {
    LEASE_MS
} else {
    PAUSES_MS[PAUSES_MS.len() - 1]
};

impl Build {
    /// Lets no lease and no pause end later than one that begins now.
    pub(super) fn begin_again_what_ends_too_late(&mut self, now: Timestamp) {
        for task in &mut self.tasks {
            let pause_ms = task.pause_ms().unwrap_or(0);
            match &mut task.state {
                TaskState::Leased { lease } => lease.until = lease.until.min(now.plus_ms(LEASE_MS)),
                TaskState::Paused { until } => *until = (*until).min(now.plus_ms(pause_ms)),
                TaskState::Waiting
                | TaskState::Passed { .. }
                | TaskState::Excluded { .. }
                | TaskState::Failed { .. }
                | TaskState::Quarantined { .. }
                | TaskState::Dropped => {}
            }
        }
    }

    /// A runner that was heard of has its lease for longer. Renewals from a time that is still to come do not count: they were written down
    /// by a clock that was ahead, and would keep the lease of a runner that is gone until then. Two machines' clocks are never that far
    /// apart.
    pub(super) fn renew(&mut self, heard: &[LeaseRenewal], now: Timestamp) {
        for LeaseRenewal { task, lease, at } in heard
            .iter()
            .filter(|heard| heard.at <= now.plus_ms(LEASE_MS))
        {
            if let Ok(lease) = self.task_mut(task).and_then(|task| task.lease_mut(*lease)) {
                lease.until = lease.until.max(at.plus_ms(LEASE_MS));
            }
        }
    }
}

impl Task {
    /// How long it pauses after its last lease, in milliseconds, if that one ended in trouble.
    pub(super) fn pause_ms(&self) -> Option<u64> {
        PAUSES_MS.get(self.in_vain().checked_sub(1)?).copied()
    }
}
