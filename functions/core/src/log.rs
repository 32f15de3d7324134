//! A task's log as the line keeps it: chunks in the blob store, and this index of them.

use crate::Digest;
use serde::{Deserialize, Serialize};

/// Most chunks of one log: with two chunks a second at first and larger ones later (see the host), a day of output fits. The index,
/// 100 bytes of JSON for each of the largest chunks, stays within a record (380 KiB; see the store).
pub const CHUNKS_MAX: usize = 3860;

/// The index of one attempt's log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogIndex {
    /// In order, without gaps.
    pub chunks: Vec<Chunk>,
    /// Whether the attempt has ended, so that nothing follows.
    #[serde(default)]
    pub ended: bool,
}

/// Some bytes of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// In bytes.
    pub size: u64,
    pub digest: Digest,
}

/// A chunk that does not fit; the runner must ask where the log ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogRefused {
    /// Bytes before it are missing, or others stand there.
    #[error("the log has {end} bytes; a chunk at {offset} does not continue it")]
    Gap {
        /// Bytes the log has.
        end: u64,
        /// Where the chunk begins.
        offset: u64,
    },
    #[error("the log has its {CHUNKS_MAX} chunks")]
    Full,
}

impl LogIndex {
    /// Bytes in the log.
    pub fn size(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.size).sum()
    }

    /// Adds a chunk that begins at `offset`. The last chunk said twice changes nothing; `true` if it was new.
    pub fn append(&mut self, offset: u64, chunk: Chunk) -> Result<bool, LogRefused> {
        let end = self.size();
        if let Some(last) = self.chunks.last()
            && *last == chunk
            && offset.checked_add(chunk.size) == Some(end)
        {
            return Ok(false);
        }
        if offset != end {
            return Err(LogRefused::Gap { end, offset });
        }
        if self.chunks.len() >= CHUNKS_MAX {
            return Err(LogRefused::Full);
        }
        self.chunks.push(chunk);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> Chunk {
        Chunk {
            size: text.len() as u64,
            digest: Digest::of(text.as_bytes()),
        }
    }

    fn two_chunks() -> LogIndex {
        LogIndex {
            chunks: vec![chunk("first"), chunk("second")],
            ended: false,
        }
    }

    #[test]
    fn a_chunk_goes_where_the_log_ends() {
        let mut index = LogIndex::default();
        assert_eq!(index.append(0, chunk("first")), Ok(true));
        assert_eq!(index.append(5, chunk("second")), Ok(true));
        assert_eq!((&index, index.size()), (&two_chunks(), 11));
    }

    #[test]
    fn the_last_chunk_said_again_changes_nothing() {
        let mut index = two_chunks();
        assert_eq!(index.append(5, chunk("second")), Ok(false));
        assert_eq!(index, two_chunks());
    }

    #[test]
    fn the_same_bytes_further_on_are_a_chunk_of_their_own() {
        let mut index = two_chunks();
        assert_eq!(index.append(11, chunk("second")), Ok(true));
        assert_eq!(index.size(), 17);
    }

    #[test]
    fn a_gap_and_other_bytes_in_the_place_of_known_ones_are_refused() {
        let mut index = two_chunks();
        for (offset, text) in [
            (12, "third"),
            (4, "second"),
            (0, "first"),
            (5, "other."),
            (u64::MAX, "second"),
            (u64::MAX - 2, "third"),
        ] {
            assert_eq!(
                index.append(offset, chunk(text)),
                Err(LogRefused::Gap { end: 11, offset }),
                "{offset} {text}"
            );
        }
        assert_eq!(index, two_chunks());
    }

    #[test]
    fn a_full_log_takes_no_more_but_hears_its_last_chunk_again() {
        let mut index = LogIndex {
            chunks: vec![chunk("first"); CHUNKS_MAX],
            ended: false,
        };
        let end = index.size();
        assert_eq!(index.append(end, chunk("more")), Err(LogRefused::Full));
        assert_eq!(index.append(end - 5, chunk("first")), Ok(false));
        assert_eq!(index.chunks.len(), CHUNKS_MAX);
    }
}
