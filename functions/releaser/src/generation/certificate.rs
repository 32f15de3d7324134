//! Certificates that clients of a platform must trust: of the key that signs its metadata, and of those that signed its packages.

use crate::error::ReleaseError;
use crate::generation::file::FileRef;
use crate::generation::manifest::Generation;
use crate::seal::Seal;
use millrace_core::{Digest, KeyName};
use millrace_store::BlobStore;

/// Largest file of certificates, in bytes: a key is replaced once in some years, and its certificate has some kilobytes.
const CERTIFICATE_BYTES_MAX: u64 = 4 << 20;

/// Gives a generation another key. Packages stay signed with the key that they were signed with, so clients are given both
/// certificates, the new one first.
pub async fn give_key(
    generation: &mut Generation,
    key: &KeyName,
    certificate: &[u8],
    blobs: &impl BlobStore,
) -> Result<(), ReleaseError> {
    if generation.has_key(key, certificate) {
        return Ok(());
    }
    let known = certificates(generation, blobs).await?;
    if !lists(&known, certificate) {
        let list = [certificate, b"\n", &known].concat();
        generation.certificate = FileRef::put(list, blobs).await?;
    }
    generation.key = key.clone();
    generation.key_certificate = Digest::of(certificate);
    Ok(())
}

/// Lets clients trust a key that packages are signed with, and the generation's own as it is now: behind those that they trust already.
pub async fn trust_key(
    generation: &mut Generation,
    key: &KeyName,
    certificate: &[u8],
    seal: &impl Seal,
    blobs: &impl BlobStore,
) -> Result<(), ReleaseError> {
    // Under its old name, the generation's key may be another one by now.
    let own = if generation.key == *key {
        certificate.to_vec()
    } else {
        seal.public_key(&generation.key).await?
    };
    for certificate in [own.as_slice(), certificate] {
        if Digest::of(certificate) == generation.key_certificate {
            continue;
        }
        let known = certificates(generation, blobs).await?;
        if !lists(&known, certificate) {
            let list = [&known, b"\n".as_slice(), certificate].concat();
            generation.certificate = FileRef::put(list, blobs).await?;
        }
    }
    Ok(())
}

async fn certificates(
    generation: &Generation,
    blobs: &impl BlobStore,
) -> Result<Vec<u8>, ReleaseError> {
    let digest = &generation.certificate.digest;
    Ok(blobs.read_all(digest, CERTIFICATE_BYTES_MAX).await?)
}

/// Whether a certificate is among those of a list: its lines stand there as they are.
fn lists(known: &[u8], certificate: &[u8]) -> bool {
    let known = with_line_end(known);
    let certificate = with_line_end(certificate);
    let begins_a_line = |at: usize| at == 0 || known[at - 1] == b'\n';
    known
        .windows(certificate.len())
        .enumerate()
        .any(|(at, lines)| lines == certificate && begins_a_line(at))
}

fn with_line_end(text: &[u8]) -> Vec<u8> {
    [text.trim_ascii_end(), b"\n"].concat()
}
