//! Pointers: small objects that are replaced under a condition.

use super::{S3, status, trouble};
use crate::blob::{BlobError, PointerVersion, SwapError, check_pointer};
use aws_sdk_s3::primitives::ByteStream;
use std::fmt::Write as _;
use std::io;

/// Where a pointer lies. What an address would have to write otherwise is written otherwise here already, as its bytes in
/// hexadecimal: `+` for one is a space to some and a plus to others.
fn key(name: &str) -> String {
    let mut key = "pointers/".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'/' => {
                key.push(char::from(byte))
            }
            _ => {
                let _ = write!(key, "={byte:02x}");
            }
        }
    }
    key
}

/// Number and ETag: the first is written before the bytes of the next one, the second is the condition.
fn version(number: u64, tag: &str) -> PointerVersion {
    PointerVersion(format!("{number} {tag}"))
}

fn odd(what: &str) -> BlobError {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned()).into()
}

impl S3 {
    pub(super) async fn read_pointer(
        &self,
        name: &str,
    ) -> Result<Option<(Vec<u8>, PointerVersion)>, BlobError> {
        let got = match self
            .client
            .get_object()
            .bucket(&*self.bucket)
            .key(key(name))
            .send()
            .await
        {
            Ok(got) => got,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(trouble(error)),
        };
        let tag = got
            .e_tag
            .clone()
            .ok_or_else(|| odd("a pointer without an ETag"))?;
        let bytes = got.body.collect().await.map_err(io::Error::other)?.to_vec();
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| odd("a pointer without a number"))?;
        let number = std::str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| odd("a pointer with an odd number"))?;
        Ok(Some((bytes[end + 1..].to_vec(), version(number, &tag))))
    }

    pub(super) async fn swap_pointer(
        &self,
        name: &str,
        expected: Option<&PointerVersion>,
        bytes: &[u8],
    ) -> Result<PointerVersion, SwapError> {
        check_pointer(name, bytes)?;
        let put = self
            .client
            .put_object()
            .bucket(&*self.bucket)
            .key(key(name));
        let (number, put) = match expected {
            None => (1, put.if_none_match("*")),
            Some(PointerVersion(known)) => {
                let (number, tag) = known
                    .split_once(' ')
                    .ok_or_else(|| odd("a version that no pointer had"))?;
                let number: u64 = number
                    .parse()
                    .map_err(|_| odd("a version that no pointer had"))?;
                (number + 1, put.if_match(tag))
            }
        };
        let body = [format!("{number}\n").as_bytes(), bytes].concat();
        match put.body(ByteStream::from(body)).send().await {
            Ok(put) => Ok(version(
                number,
                &put.e_tag.ok_or_else(|| odd("a pointer without an ETag"))?,
            )),
            // The condition does not hold; another write was under way; there is nothing that could be as it was.
            Err(error) if matches!(status(&error), Some(404 | 409 | 412)) => {
                Err(SwapError::Conflict(name.to_owned()))
            }
            Err(error) => Err(trouble(error).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointers_name_needs_no_other_writing_in_an_address() {
        assert_eq!(key("release/el-9"), "pointers/release/el-9");
        assert_eq!(key("gcc-c++ =é"), "pointers/gcc-c=2b=2b=20=3d=c3=a9");
    }
}
