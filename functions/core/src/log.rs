//! A task's log as the line keeps it: chunks in the blob store, and this index of them.

use crate::Digest;
use serde::{Deserialize, Serialize};

/// Most chunks of one log: with a chunk a second at first and larger ones later (see the host), a day of output fits, and the
/// index stays below the 400 KB of an item.
pub const CHUNKS_MAX: usize = 3900;

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
    /// Where they lie.
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
    /// It is full.
    #[error("the log has its {CHUNKS_MAX} chunks")]
    Full,
}

impl LogIndex {
    /// Bytes in the log.
    pub fn size(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.size).sum()
    }

    /// Adds a chunk that begins at `offset`. The last chunk said twice changes nothing; `true` where it was new.
    pub fn append(&mut self, offset: u64, chunk: Chunk) -> Result<bool, LogRefused> {
        let end = self.size();
        if let Some(last) = self.chunks.last()
            && *last == chunk
            && offset + chunk.size == end
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
