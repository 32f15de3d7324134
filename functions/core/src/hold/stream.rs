//! Bytes on their way from one end of a terminal to the other, through records that only the sender of each writes.
//!
//! The sender keeps what the other end has not acknowledged, and numbers it by where it begins. So the other end can tell what is sent
//! again from what is new, and no key is typed twice.

use super::{SessionEnd, Size};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most bytes that wait to be typed: a large paste. In a record each is two hexadecimal digits.
pub const TYPED_BYTES_MAX: usize = 32 * 1024;

/// Most bytes that wait to be shown: a screen of a large terminal with colours has half of it. In a record (380 KiB) each is two digits.
pub const PRINTED_BYTES_MAX: usize = 128 * 1024;

/// Bytes that were sent and not yet acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stream {
    /// How many were before them.
    pub from: u64,
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub bytes: Vec<u8>,
}

impl Stream {
    /// How many there were by now.
    pub fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    /// Forgets what the other end has.
    pub fn acknowledge(&mut self, seen: u64) {
        let known = usize::try_from(seen.saturating_sub(self.from))
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        self.bytes.drain(..known);
        self.from += known as u64;
    }

    /// Adds what begins at `from`, as far as it is new and there is room for it. Bytes after a gap are not taken: they come again.
    pub fn add(&mut self, from: u64, bytes: &[u8], bytes_max: usize) {
        let Some(known) = self.end().checked_sub(from) else {
            return;
        };
        let new = bytes
            .get(usize::try_from(known).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        let room = bytes_max.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&new[..new.len().min(room)]);
    }

    /// What comes after the first `seen` bytes.
    pub fn after(&self, seen: u64) -> &[u8] {
        let known = usize::try_from(seen.saturating_sub(self.from)).unwrap_or(usize::MAX);
        self.bytes.get(known..).unwrap_or_default()
    }
}

/// What comes from the terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Typed {
    pub keys: Stream,
    /// Bytes of the output that have been shown.
    pub shown: u64,
    /// How large the terminal is.
    #[serde(default)]
    pub size: Size,
    /// Grows as long as somebody is there.
    pub beat: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

/// What comes from the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Printed {
    pub output: Stream,
    /// Bytes of the input that were typed.
    pub typed: u64,
    /// Grows as long as the runner is there.
    pub beat: u32,
    /// How it ended. What was printed before is here already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<SessionEnd>,
}

pub(crate) fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let text: String = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect();
    serializer.serialize_str(&text)
}

pub(crate) fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let wrong = || serde::de::Error::custom("bytes are an even number of hexadecimal digits");
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes()
        .chunks(2)
        .map(|two| pair(two).ok_or_else(wrong))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_is_taken_once() {
        let mut stream = Stream::default();
        stream.add(0, b"make", 100);
        stream.add(0, b"make", 100);
        stream.add(2, b"ke test", 100);
        stream.add(20, b"after a gap", 100);
        assert_eq!(
            (stream.after(0), stream.end()),
            (b"make test".as_slice(), 9)
        );
    }

    #[test]
    fn what_was_seen_is_forgotten_and_no_more() {
        let mut stream = Stream::default();
        stream.add(0, b"0123456789", 100);
        stream.acknowledge(4);
        assert_eq!(
            (stream.from, stream.after(4), stream.after(7)),
            (4, b"456789".as_slice(), b"789".as_slice())
        );
        stream.acknowledge(2);
        assert_eq!(stream.from, 4);
        stream.acknowledge(1000);
        assert_eq!((stream.from, stream.bytes.len()), (10, 0));
        stream.add(8, b"89ab", 100);
        assert_eq!(stream.after(10), b"ab");
    }

    #[test]
    fn what_does_not_fit_comes_again_when_there_is_room() {
        let mut stream = Stream::default();
        stream.add(0, b"0123456789", 6);
        assert_eq!(stream.end(), 6);
        stream.acknowledge(5);
        stream.add(0, b"0123456789", 6);
        assert_eq!((stream.after(0), stream.end()), (b"56789".as_slice(), 10));
    }

    #[test]
    fn any_bytes_go_through_a_record_of_text() {
        let mut typed = Typed {
            beat: 7,
            ..Typed::default()
        };
        typed.keys.add(0, &[0, 0x7f, 0x80, 0xff, b'\n'], 100);
        let json = serde_json::to_string(&typed).unwrap();
        assert_eq!(
            json,
            r#"{"keys":{"from":0,"bytes":"007f80ff0a"},"shown":0,"size":{"columns":80,"rows":24},"beat":7}"#
        );
        assert_eq!(serde_json::from_str::<Typed>(&json).unwrap(), typed);
        assert!(serde_json::from_str::<Stream>(r#"{"from":0,"bytes":"0"}"#).is_err());
        assert!(serde_json::from_str::<Stream>(r#"{"from":0,"bytes":"zz"}"#).is_err());
    }
}
