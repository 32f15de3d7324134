//! The digests by which packages name their sources, all from one reading of a file.

use millrace_core::Digest;
use sha1_checked::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use std::io::{Read, Write};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// What was read of a file.
pub(crate) struct Digests {
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) sha256: Digest,
    /// Hexadecimal digits.
    pub(crate) sha512: String,
    /// Hexadecimal digits; none if the file is one of two that were made to have the same.
    pub(crate) sha1: Option<String>,
}

/// Copies and hashes.
pub(crate) fn digests(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<Digests> {
    let mut sha256 = Sha256::new();
    let mut sha512 = Sha512::new();
    let mut sha1 = Sha1::new();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        sha256.update(&chunk[..count]);
        sha512.update(&chunk[..count]);
        sha1_checked::Digest::update(&mut sha1, &chunk[..count]);
        to.write_all(&chunk[..count])?;
        size += count as u64;
    }
    let sha1 = sha1.try_finalize();
    Ok(Digests {
        size,
        sha256: Digest::from_bytes(sha256.finalize().into()),
        sha512: hexadecimal(&sha512.finalize()),
        sha1: (!sha1.has_collision()).then(|| hexadecimal(sha1.hash())),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
