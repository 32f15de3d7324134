//! A record's body as its item has it: as text if that is short, and packed if it is not. DynamoDB counts what an item has in
//! kilobytes, each time that it is written or read, and twice in a transaction. The JSON of a build packs to a fifth (Amazon DynamoDB
//! Developer Guide, "DynamoDB on-demand capacity mode", and "Compressing large attribute values").

use super::{Item, text};
use crate::state::{RECORD_BYTES_MAX, StateError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use std::io::{Read, Write};

/// The attribute. A record that is gone has none.
pub(super) const BODY: &str = "body";

/// Longest body, in bytes, that stays text: with index entries and names beside it, its item is written for one unit as it is.
const TEXT_BYTES_MAX: usize = 512;

/// A body as an attribute: a text, or one in the format of zlib (RFC 1950).
pub(super) fn packed(body: &str) -> AttributeValue {
    if body.len() <= TEXT_BYTES_MAX {
        return text(body);
    }
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    match packer
        .write_all(body.as_bytes())
        .and_then(|()| packer.finish())
    {
        Ok(bytes) => AttributeValue::B(Blob::new(bytes)),
        // What is in memory can be packed into memory.
        Err(_) => text(body),
    }
}

/// The body of a record that stands.
pub(super) fn unpacked(found: &Item) -> Result<String, StateError> {
    match found.get(BODY) {
        Some(AttributeValue::S(body)) => Ok(body.clone()),
        Some(AttributeValue::B(bytes)) => {
            let mut body = String::new();
            let mut unpacker = ZlibDecoder::new(bytes.as_ref()).take(RECORD_BYTES_MAX as u64 + 1);
            match unpacker.read_to_string(&mut body) {
                Ok(_) if body.len() <= RECORD_BYTES_MAX => Ok(body),
                Ok(_) => Err(StateError::corrupt(format!(
                    "a body of more than {RECORD_BYTES_MAX} bytes"
                ))),
                Err(error) => Err(StateError::unreadable("a packed body", error)),
            }
        }
        _ => Err(StateError::corrupt("an item without a body")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::item;

    fn back(value: AttributeValue) -> Result<String, StateError> {
        unpacked(&item([(BODY, value)]))
    }

    #[test]
    fn every_body_comes_back_and_long_ones_are_packed() {
        for body in [
            String::new(),
            "{}".to_owned(),
            "x".repeat(TEXT_BYTES_MAX),
            "\u{1f7e2} ".repeat(RECORD_BYTES_MAX / 5),
        ] {
            let kept = packed(&body);
            assert_eq!(
                matches!(kept, AttributeValue::S(_)),
                body.len() <= TEXT_BYTES_MAX
            );
            assert_eq!(back(kept).unwrap(), body);
        }
    }

    #[test]
    fn what_was_kept_as_text_is_read_however_long_it_is() {
        let body = "y".repeat(RECORD_BYTES_MAX);
        assert_eq!(back(text(&body)).unwrap(), body);
    }

    #[test]
    fn what_is_no_body_is_corrupt() {
        let AttributeValue::B(whole) = packed(&"z".repeat(10_000)) else {
            panic!("not packed")
        };
        let cut = AttributeValue::B(Blob::new(&whole.as_ref()[..whole.as_ref().len() / 2]));
        let AttributeValue::B(bomb) = packed(&"b".repeat(RECORD_BYTES_MAX + 1)) else {
            panic!("not packed")
        };
        for odd in [
            cut,
            AttributeValue::B(bomb),
            AttributeValue::B(Blob::new(b"no zlib")),
            AttributeValue::Bool(true),
        ] {
            assert!(matches!(back(odd), Err(StateError::Corrupt { .. })));
        }
    }
}
