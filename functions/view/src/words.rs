//! Spans, sizes and names as people and addresses have them.

use millrace_core::address::percent_encoded;

/// A span in its two largest units: `4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    let two = |large: u64, of: &str, small: u64, unit: &str| {
        if small == 0 {
            format!("{large} {of}")
        } else {
            format!("{large} {of} {small} {unit}")
        }
    };
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s / 60 % 60, "min"),
        _ => two(s / 86_400, "d", s / 3600 % 24, "h"),
    }
}

/// How long ago something was, in its largest unit: `just now`, `4 min ago`, `3 d ago`.
pub fn ago(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..5 => "just now".to_owned(),
        5..60 => format!("{s} s ago"),
        60..3600 => format!("{} min ago", s / 60),
        3600..86_400 => format!("{} h ago", s / 3600),
        _ => format!("{} d ago", s / 86_400),
    }
}

/// A size with a tenth: `812 B`, `1.4 MB`; powers of ten, as disks and downloads count.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if size < 1000 {
        return format!("{size} B");
    }
    // Tenths of the unit, so that no floating point is needed; the last unit takes all that is left.
    let mut tenths = size / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A text as one segment of a path or one value of a query.
pub fn segment(text: &str) -> String {
    percent_encoded(text, '@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_two_largest_units() {
        let told: Vec<String> = [
            0,
            999,
            1000,
            59_999,
            60_000,
            200_000,
            7_500_000,
            86_400_000,
            100_000_000,
        ]
        .into_iter()
        .map(span)
        .collect();
        assert_eq!(
            told,
            [
                "0 ms",
                "999 ms",
                "1 s",
                "59 s",
                "1 min",
                "3 min 20 s",
                "2 h 5 min",
                "1 d",
                "1 d 3 h"
            ]
        );
    }

    #[test]
    fn sizes_have_a_tenth_and_no_surprise_at_their_ends() {
        let told: Vec<String> = [0, 999, 1000, 1_450_000, 999_999, u64::MAX]
            .into_iter()
            .map(bytes)
            .collect();
        assert_eq!(
            told,
            ["0 B", "999 B", "1.0 kB", "1.4 MB", "999.9 kB", "18446.7 PB"]
        );
    }

    #[test]
    fn nothing_in_a_segment_ends_it() {
        assert_eq!(
            segment("zlib-1.3~rc1^git+x.rpm"),
            "zlib-1.3~rc1%5Egit%2Bx.rpm"
        );
        assert_eq!(segment("../a?b#c\"é"), "..%2Fa%3Fb%23c%22%C3%A9");
    }
}
