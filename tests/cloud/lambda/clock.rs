//! Times, as AWS writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis(),
    )
    .unwrap_or(u64::MAX)
}

/// `2026-11-24T19:46:37.410Z`
pub fn iso(ms: u64) -> String {
    let (year, month, day) = date(ms / 86_400_000);
    let (hour, minute, second) = time(ms);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1000
    )
}

/// `24/Nov/2026:19:46:37 +0000`
pub fn common(ms: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (year, month, day) = date(ms / 86_400_000);
    let (hour, minute, second) = time(ms);
    format!(
        "{day:02}/{}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000",
        MONTHS[month - 1]
    )
}

/// `3.00 seconds`
pub fn seconds(time: Duration) -> String {
    format!("{:.2} seconds", time.as_secs_f64())
}

fn time(ms: u64) -> (u64, u64, u64) {
    let seconds = ms / 1000;
    (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// The day after so many days since 1970.
fn date(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
    }
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

fn leap(year: u64) -> u64 {
    u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)))
}

#[test]
fn days_have_their_dates() {
    assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(iso(951_782_400_123), "2000-02-29T00:00:00.123Z");
    assert_eq!(common(1_795_549_597_000), "24/Nov/2026:19:46:37 +0000");
}
