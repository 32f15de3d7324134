//! Patience with a line that is away: pauses that grow, and waits that a stop ends.

use super::client::DeskError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The first pause before another try.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// The longest pause: a line that comes back is noticed within this time.
const PAUSE_LAST: Duration = Duration::from_secs(15);

/// How soon a stop is seen.
const LOOK: Duration = Duration::from_millis(50);

/// How long to wait before the next try, after so many that failed.
pub fn pause(failed: u32) -> Duration {
    PAUSE_FIRST
        .saturating_mul(1 << failed.saturating_sub(1).min(16))
        .min(PAUSE_LAST)
}

/// Waits, unless somebody stops it; answers whether it waited to the end.
pub fn wait(time: Duration, stop: &AtomicBool) -> bool {
    let until = Instant::now() + time;
    while !stop.load(Ordering::SeqCst) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK));
    }
    false
}

/// Tries until it works, is refused, is stopped, or has taken this long.
pub fn patiently<T>(
    time: Duration,
    stop: &AtomicBool,
    mut call: impl FnMut() -> Result<T, DeskError>,
) -> Result<T, DeskError> {
    let until = Instant::now() + time;
    let mut failed = 0;
    loop {
        match call() {
            Err(error) if error.is_passing() && Instant::now() < until => {
                failed += 1;
                if !wait(pause(failed), stop) {
                    return Err(DeskError::GivenUp);
                }
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_short_enough_to_notice_a_line_that_is_back() {
        let pauses: Vec<u128> = [1, 2, 3, 6, 7, 8, u32::MAX]
            .map(|failed| pause(failed).as_millis())
            .to_vec();
        assert_eq!(pauses, [250, 500, 1000, 8000, 15_000, 15_000, 15_000]);
    }

    #[test]
    fn a_refusal_is_not_tried_again_and_trouble_is() {
        let never = AtomicBool::new(false);
        let away = || DeskError::Away {
            url: String::new(),
            source: "".into(),
        };
        let mut tries = 0;
        let refused: Result<(), DeskError> = patiently(Duration::from_secs(5), &never, || {
            tries += 1;
            Err(if tries < 3 {
                away()
            } else {
                DeskError::LeaseLost(String::new())
            })
        });
        assert!(matches!(refused, Err(DeskError::LeaseLost(_))));
        assert_eq!(tries, 3);
    }

    #[test]
    fn a_stop_ends_the_waiting() {
        let now = AtomicBool::new(true);
        let given_up: Result<(), DeskError> = patiently(Duration::from_secs(60), &now, || {
            Err(DeskError::Away {
                url: String::new(),
                source: "".into(),
            })
        });
        assert!(matches!(given_up, Err(DeskError::GivenUp)));
    }
}
