//! What an RPM that a plugin hands over says of itself.

use millrace_core::header::{FIRST_READ_BYTES, HeaderError, read_head};
use millrace_core::rpm::Rpm;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A file that is no sound RPM.
#[derive(Debug, thiserror::Error)]
pub enum NoRpm {
    /// Its bytes make no sense.
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Reads name, version, release, architecture and where it may be built.
pub fn rpm(file: &File) -> Result<Rpm, NoRpm> {
    let size = file.metadata()?.len();
    let mut wanted = FIRST_READ_BYTES.min(size);
    loop {
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0)?;
        match read_head(&bytes) {
            Ok(head) => return Ok(head.header.rpm()?),
            Err(HeaderError::More { bytes }) if bytes > wanted && bytes <= size => wanted = bytes,
            Err(error) => return Err(error.into()),
        }
    }
}
