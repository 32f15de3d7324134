//! Certificates that clients of a platform must trust: of the key that signs its metadata, and of those that signed its packages.

use crate::error::ReleaseError;
use crate::generation::file::put;
use crate::generation::manifest::Generation;
use crate::seal::Seal;
use millrace_core::{Digest, KeyName};
use millrace_store::BlobStore;

/// Largest file of certificates, in bytes: a key is replaced once in some years, and its certificate has some kilobytes.
const CERTIFICATE_BYTES_MAX: u64 = 4 << 20;

/// The generation with this key, and whether that is news. Packages stay signed with the key that they were signed with, so
/// clients are given both.
pub async fn with_key(
    mut generation: Generation,
    key: &KeyName,
    certificate: &[u8],
    blobs: &impl BlobStore,
) -> Result<(Generation, bool), ReleaseError> {
    let digest = Digest::of(certificate);
    if generation.key == *key && generation.key_certificate == digest {
        return Ok((generation, false));
    }
    let known = blobs
        .read_all(&generation.certificate.digest, CERTIFICATE_BYTES_MAX)
        .await?;
    if !lists(&known, certificate) {
        generation.certificate = put([certificate, b"\n", &known].concat(), blobs).await?;
    }
    (generation.key, generation.key_certificate) = (key.clone(), digest);
    Ok((generation, true))
}

/// The generation with the certificates of its own key and of a key that packages are signed with, behind those that it has.
pub async fn with_certificates(
    mut generation: Generation,
    key: &KeyName,
    certificate: &[u8],
    seal: &impl Seal,
    blobs: &impl BlobStore,
) -> Result<Generation, ReleaseError> {
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
        let known = blobs
            .read_all(&generation.certificate.digest, CERTIFICATE_BYTES_MAX)
            .await?;
        if !lists(&known, certificate) {
            generation.certificate =
                put([&known, b"\n".as_slice(), certificate].concat(), blobs).await?;
        }
    }
    Ok(generation)
}

/// Whether a certificate is among those of a list: its lines stand there as they are.
fn lists(known: &[u8], certificate: &[u8]) -> bool {
    let ended = |bytes: &[u8]| [bytes.trim_ascii_end(), b"\n"].concat();
    let (known, certificate) = (ended(known), ended(certificate));
    let begins = |at: usize| at == 0 || known[at - 1] == b'\n';
    known
        .windows(certificate.len())
        .enumerate()
        .any(|(at, lines)| lines == certificate && begins(at))
}
