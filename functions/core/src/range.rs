//! What a request's `Range` asks for of something whose size is known (RFC 9110, 14).

use std::ops::Range;

/// What a `Range` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestedRange {
    /// All of it: 200.
    All,
    /// These bytes, at least one: 206.
    Part(Range<u64>),
    /// Bytes that it does not have: 416.
    Nothing,
}

/// One range of bytes of something of this size (14.1.2). Whatever is not understood is no reason to refuse, and several ranges at
/// once are not worth their trouble: all of it answers them (14.2).
pub fn read(text: &str, size: u64) -> RequestedRange {
    let Some((from, to)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return RequestedRange::All;
    };
    let range = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => from..to.saturating_add(1).min(size),
        (Ok(from), Err(_)) if to.is_empty() => from..size,
        (Err(_), Ok(last)) if from.is_empty() => size.saturating_sub(last)..size,
        _ => return RequestedRange::All,
    };
    if range.start < range.end {
        RequestedRange::Part(range)
    } else {
        RequestedRange::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("bytes=0-0", RequestedRange::Part(0..1)),
            ("bytes=90-", RequestedRange::Part(90..100)),
            ("bytes=-10", RequestedRange::Part(90..100)),
            ("bytes=-1000", RequestedRange::Part(0..100)),
            ("bytes=0-18446744073709551615", RequestedRange::Part(0..100)),
            ("bytes=100-", RequestedRange::Nothing),
            ("bytes=200-300", RequestedRange::Nothing),
            ("bytes=-0", RequestedRange::Nothing),
            ("bytes=5-3", RequestedRange::All),
            ("bytes=0-1,5-6", RequestedRange::All),
            ("bytes=-", RequestedRange::All),
            ("bytes=a-b", RequestedRange::All),
            ("pages=1-2", RequestedRange::All),
        ] {
            assert_eq!(read(text, 100), expected, "{text}");
        }
        assert_eq!(read("bytes=0-0", 0), RequestedRange::Nothing);
    }
}
