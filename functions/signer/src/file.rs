//! One package file on its way through the signer: read its head, check all of it, sign, put together, check again.

use crate::error::{FileProblem, KeyError, SignError};
use crate::header::{
    PayloadDigest, UnsoundPackage, base64, check_header_digests, finish, hasher, hexadecimal,
    payload_digest, signatures, with_signature,
};
use crate::keys::Keys;
use crate::signature::{is_signed_by, sign_bytes};
use millrace_core::header::{LEAD_BYTES, read_head};
use millrace_core::order::{OrderedFile, SignOrder, SignedFile};
use millrace_core::rpm::Rpm;
use millrace_core::{Digest, KeyName};
use millrace_store::{BlobError, BlobStore, Part, package_head};
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::types::HashAlgorithm;
use std::io;

/// How much of a file is in memory while it is hashed. It is large enough that a remote store's answer time (some 20 ms a request)
/// stays below the time of the transfer, and small beside the memory of the smallest function.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// What a head says that the rest of the work needs.
struct CheckedHead {
    header_at: u64,
    payload_at: u64,
    payload: PayloadDigest,
}

/// A head with a new signature.
struct SignedHead {
    /// Lead and signature header.
    front: Vec<u8>,
    /// The bytes that were signed.
    header: Vec<u8>,
    /// Of the key that signed them.
    certificate: Cert,
}

/// Signs one file of an order. The same file twice gives the same bytes.
pub(crate) async fn sign_file(
    order: &SignOrder,
    file: &OrderedFile,
    keys: &impl Keys,
    blobs: &impl BlobStore,
) -> Result<SignedFile, SignError> {
    let wrong = |problem| SignError::File {
        file: file.name.clone(),
        problem,
    };
    let trouble = |source| SignError::Blob {
        file: file.name.clone(),
        source,
    };

    let stored = blobs
        .size(&file.digest)
        .await
        .map_err(trouble)?
        .ok_or(BlobError::Missing(file.digest))
        .map_err(trouble)?;
    if stored != file.size {
        return Err(wrong(FileProblem::Size {
            expected: file.size,
            found: stored,
        }));
    }
    let head = package_head(blobs, &file.digest, stored)
        .await
        .map_err(trouble)?;
    let checked = check_head(&head, &file.rpm).map_err(wrong)?;
    let (whole, payload) = hash(&file.digest, stored, &checked, blobs)
        .await
        .map_err(trouble)?;
    check_content(file, &checked, whole, payload).map_err(wrong)?;

    let signed = sign_head(keys.clone(), order.key.clone(), order.signed_s, head).await?;
    let size = signed.front.len() as u64 + stored - checked.header_at;
    let rest = Part::Blob {
        digest: file.digest,
        range: checked.header_at..stored,
    };
    let (digest, written) = blobs
        .compose(&[Part::Bytes(signed.front), rest])
        .await
        .map_err(trouble)?;

    let head = package_head(blobs, &digest, written)
        .await
        .map_err(trouble)?;
    if written != size || !is_signed_head(&head, &signed.header, &signed.certificate) {
        return Err(wrong(FileProblem::Written(digest)));
    }
    Ok(SignedFile {
        unsigned: file.digest,
        signed: digest,
        size,
    })
}

/// The head must be sound, of the package that was ordered, and as it was built.
fn check_head(bytes: &[u8], ordered: &Rpm) -> Result<CheckedHead, FileProblem> {
    let head = read_head(bytes)?;
    let found = head.header.rpm()?;
    let names = |rpm: &Rpm| {
        (
            rpm.name.clone(),
            rpm.epoch,
            rpm.version.clone(),
            rpm.release.clone(),
            rpm.arch.clone(),
        )
    };
    if names(&found) != names(ordered) {
        return Err(FileProblem::OtherPackage {
            expected: ordered.to_string(),
            found: found.to_string(),
        });
    }
    check_header_digests(&head)?;
    Ok(CheckedHead {
        header_at: head.header_at,
        payload_at: head.payload_at,
        payload: payload_digest(&head.header)?,
    })
}

/// Digests of the whole file and of its payload, in one reading.
async fn hash(
    digest: &Digest,
    size: u64,
    checked: &CheckedHead,
    blobs: &impl BlobStore,
) -> Result<(Vec<u8>, Vec<u8>), BlobError> {
    let (mut whole, mut payload) = (
        hasher(HashAlgorithm::SHA256),
        hasher(checked.payload.algorithm),
    );
    let mut at = 0;
    while at < size {
        let chunk = blobs.read(digest, at..size.min(at + CHUNK_BYTES)).await?;
        whole.update(&chunk);
        let headers = usize::try_from(checked.payload_at.saturating_sub(at)).unwrap_or(usize::MAX);
        payload.update(chunk.get(headers..).unwrap_or_default());
        at += chunk.len() as u64;
    }
    Ok((finish(whole), finish(payload)))
}

/// The bytes must be those that the build vouches for, and their payload the one that was packed.
fn check_content(
    file: &OrderedFile,
    checked: &CheckedHead,
    whole: Vec<u8>,
    payload: Vec<u8>,
) -> Result<(), FileProblem> {
    let (whole, payload) = (hexadecimal(&whole), hexadecimal(&payload));
    if whole != file.digest.hex() {
        return Err(FileProblem::Digest {
            expected: file.digest.hex(),
            found: whole,
        });
    }
    if payload != checked.payload.expected {
        let PayloadDigest {
            algorithm,
            expected,
        } = checked.payload.clone();
        return Err(UnsoundPackage::PayloadDigest {
            algorithm,
            expected,
            found: payload,
        }
        .into());
    }
    Ok(())
}

/// Makes the signature, on a thread where computing or waiting holds up nobody.
async fn sign_head(
    keys: impl Keys,
    key: KeyName,
    signed_s: u64,
    bytes: Vec<u8>,
) -> Result<SignedHead, SignError> {
    let name = key.clone();
    let work = move || {
        let head = read_head(&bytes).expect("it was checked");
        let made = sign_bytes(&keys, &key, head.header.bytes, signed_s)?;
        let front = [
            &bytes[..LEAD_BYTES],
            &with_signature(&head.signature, &made.packet, made.legacy),
        ]
        .concat();
        Ok(SignedHead {
            front,
            header: head.header.bytes.to_vec(),
            certificate: keys.certificate(&key)?,
        })
    };
    let stopped = |error| KeyError::Unavailable {
        key: name,
        source: io::Error::other(error),
    };
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

/// Whether the head that was written says what was signed, with a good signature wherever any rpm looks for one.
fn is_signed_head(bytes: &[u8], header: &[u8], certificate: &Cert) -> bool {
    let Ok(head) = read_head(bytes) else {
        return false;
    };
    let (Some(packet), listed) = signatures(&head.signature) else {
        return false;
    };
    let same = head.header.bytes == header && listed.iter().all(|text| *text == base64(packet));
    same && is_signed_by(certificate, packet, header)
}
