//! Blobs that are put together from others: the bytes are read once, for their digest, and copied where they lie.

use super::S3;
use super::upload::{Upload, WHOLE_MAX};
use crate::blob::{BlobError, Part};
use millrace_core::Digest;
use sha2::{Digest as _, Sha256};
use std::ops::Range;

/// Smallest part of an object but for the last (Amazon S3 User Guide, "Multipart upload limits").
const PART_BYTES_MIN: u64 = 5 << 20;

/// Largest range that is copied at once, in bytes: the service takes 5 GiB, but says nothing until it is done, and is given a minute.
const COPY_BYTES_MAX: u64 = 256 << 20;

impl S3 {
    pub(super) async fn put_together(&self, parts: &[Part]) -> Result<(Digest, u64), BlobError> {
        let mut size = 0_u64;
        for part in parts {
            size += match part {
                Part::Bytes(bytes) => bytes.len() as u64,
                Part::Blob { digest, range } => {
                    self.size_with(digest, range).await?;
                    range.end - range.start
                }
            };
        }
        let (mut hash, mut whole) = (Sha256::new(), Vec::new());
        let mut see = |piece: &[u8]| {
            hash.update(piece);
            if size <= WHOLE_MAX {
                whole.extend_from_slice(piece);
            }
        };
        for part in parts {
            match part {
                Part::Bytes(bytes) => see(bytes),
                Part::Blob { digest, range } => {
                    let mut download = self.download(*digest, range.clone());
                    while let Some(piece) = download.next().await? {
                        see(&piece);
                    }
                }
            }
        }
        let digest = Digest::from_bytes(hash.finalize().into());
        if size <= WHOLE_MAX {
            self.upload_whole(&digest, whole).await?;
        } else if self.size_of(&digest).await? != Some(size) {
            let mut upload = self.begin(&digest).await?;
            match self.copy_all(parts, &mut upload).await {
                Ok(()) => upload.complete().await?,
                Err(error) => return upload.abort(error).await,
            }
        }
        Ok((digest, size))
    }

    /// Copies what is long enough to be a part, and sends what is not.
    async fn copy_all(&self, parts: &[Part], upload: &mut Upload<'_>) -> Result<(), BlobError> {
        let mut small = Vec::new();
        for part in parts {
            match part {
                Part::Bytes(bytes) => small.extend_from_slice(bytes),
                Part::Blob { digest, range } => {
                    let mut range = range.clone();
                    // What waits must be as long as a part itself before anything is copied behind it.
                    let lacking = if small.is_empty() {
                        0
                    } else {
                        PART_BYTES_MIN.saturating_sub(small.len() as u64)
                    };
                    let head = range.start..range.end.min(range.start + lacking);
                    range.start = head.end;
                    self.append(digest, head, &mut small).await?;
                    if range.end - range.start < PART_BYTES_MIN {
                        self.append(digest, range, &mut small).await?;
                    } else {
                        send(&mut small, upload).await?;
                        for piece in split(range) {
                            upload.copy(digest, piece).await?;
                        }
                    }
                }
            }
            if small.len() as u64 >= PART_BYTES_MIN {
                send(&mut small, upload).await?;
            }
        }
        send(&mut small, upload).await
    }

    async fn append(
        &self,
        digest: &Digest,
        range: Range<u64>,
        to: &mut Vec<u8>,
    ) -> Result<(), BlobError> {
        let mut download = self.download(*digest, range);
        while let Some(piece) = download.next().await? {
            to.extend_from_slice(&piece);
        }
        Ok(())
    }
}

async fn send(small: &mut Vec<u8>, upload: &mut Upload<'_>) -> Result<(), BlobError> {
    if small.is_empty() {
        Ok(())
    } else {
        upload.bytes(std::mem::take(small)).await
    }
}

/// A range of at least [`PART_BYTES_MIN`] in pieces that may each be a part.
fn split(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let size = range.end - range.start;
    let count = size.div_ceil(COPY_BYTES_MAX);
    (0..count).map(move |number| {
        range.start + size * number / count..range.start + size * (number + 1) / count
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_split_where_they_are_too_long_and_into_parts_that_are_not_too_short() {
        let split = |range| super::split(range).collect::<Vec<_>>();
        assert_eq!(split(7..7 + PART_BYTES_MIN), vec![7..7 + PART_BYTES_MIN; 1]);
        assert_eq!(split(7..7 + COPY_BYTES_MAX), vec![7..7 + COPY_BYTES_MAX; 1]);
        let two = split(7..7 + COPY_BYTES_MAX + 1);
        assert_eq!(
            (two.len(), two[0].start, two[0].end, two[1].end),
            (2, 7, two[1].start, 7 + COPY_BYTES_MAX + 1)
        );
        assert!(
            two.iter()
                .all(|range| range.end - range.start >= PART_BYTES_MIN)
        );
    }
}
