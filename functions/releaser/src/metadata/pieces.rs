//! The pieces of XML that the metadata has of one package.

use serde::{Deserialize, Serialize};

/// What each of the metadata files says of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pieces {
    pub primary: String,
    pub filelists: String,
    pub other: String,
}

impl Pieces {
    /// How many bytes they have together.
    pub const fn bytes(&self) -> usize {
        self.primary.len() + self.filelists.len() + self.other.len()
    }

    /// Some of so many bytes.
    #[cfg(test)]
    pub fn of_length(bytes: usize) -> Self {
        Self {
            primary: "p".repeat(bytes),
            filelists: String::new(),
            other: String::new(),
        }
    }
}

/// A piece as it stands in a file: without the line ends around it.
pub fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
