//! What KMS says, as OpenPGP packets: a public key, a signature, and the certificate that is made of both.

use crate::error::KeyError;
use crate::openpgp::signature4;
use millrace_core::KeyName;
use rsa::RsaPublicKey;
use rsa::pkcs8::{DecodePublicKey as _, ObjectIdentifier, SubjectPublicKeyInfoRef};
use rsa::traits::PublicKeyParts as _;
use sequoia_openpgp::Packet;
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::packet::key::{Key4, PrimaryRole, PublicParts};
use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketArea, SubpacketValue};
use sequoia_openpgp::packet::{Key, Signature, UserID};
use sequoia_openpgp::types::{
    HashAlgorithm, KeyFlags, PublicKeyAlgorithm, SignatureType, Timestamp,
};

/// How the key of an Ed25519 signature is named in DER (RFC 8410, 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Bytes of an Ed25519 public key, and of either number of a signature (RFC 8032, 5.1.5 and 5.1.6).
const ED25519_BYTES: usize = 32;

/// A public key of KMS, which is a SubjectPublicKeyInfo in DER (RFC 5280, 4.1.2.7): RSA, or Ed25519 in its older OpenPGP form
/// (algorithm 22), since rpm 4 does not know the newer one. None if it is no such key.
///
/// `created_s`, in seconds since 1970, becomes part of the fingerprint.
pub fn public_key(der: &[u8], created_s: u32) -> Option<Key<PublicParts, PrimaryRole>> {
    let created = Timestamp::from(created_s).into();
    let said = SubjectPublicKeyInfoRef::try_from(der).ok()?;
    let made = if said.algorithm.oid == ED25519 {
        let point = said
            .subject_public_key
            .as_bytes()
            .filter(|point| point.len() == ED25519_BYTES)?;
        Key4::import_public_ed25519(point, Some(created))
    } else {
        let read = RsaPublicKey::from_public_key_der(der).ok()?;
        Key4::import_public_rsa(
            &read.e().to_bytes_be(),
            &read.n().to_bytes_be(),
            Some(created),
        )
    };
    made.ok().map(Key::from)
}

/// A signature of KMS as OpenPGP writes it: RSA as one number, Ed25519 as the two that follow each other in its 64 bytes
/// (RFC 9580, 5.2.3). None if it is no such signature.
pub fn numbers(algorithm: PublicKeyAlgorithm, signature: &[u8]) -> Option<mpi::Signature> {
    match (algorithm, signature.split_at_checked(ED25519_BYTES)) {
        (PublicKeyAlgorithm::RSAEncryptSign, _) => Some(mpi::Signature::RSA {
            s: mpi::MPI::new(signature),
        }),
        (PublicKeyAlgorithm::EdDSA, Some((r, s))) if s.len() == ED25519_BYTES => {
            Some(mpi::Signature::EdDSA {
                r: mpi::MPI::new(r),
                s: mpi::MPI::new(s),
            })
        }
        _ => None,
    }
}

/// A certificate that says whose a public key is; `sign` signs the digest of that by the key itself.
pub fn certify(
    name: &KeyName,
    public: Key<PublicParts, PrimaryRole>,
    user_id: &str,
    sign: impl FnOnce(&[u8]) -> Result<mpi::Signature, KeyError>,
) -> Result<Cert, KeyError> {
    let unfit = |_| KeyError::Unfit {
        key: name.clone(),
        problem: "its certificate does not fit packets",
    };
    let (user_id, algorithm) = (UserID::from(user_id), public.pk_algo());
    let hashed = subpackets(&public).map_err(unfit)?;
    let frame = |prefix, numbers| {
        let kind = SignatureType::PositiveCertification;
        signature4(kind, algorithm, &hashed, prefix, numbers)
    };
    // What is hashed is the key, the user id and the signature's own fields; its numbers are not among them.
    let blank = Signature::from(frame(
        [0; 2],
        mpi::Signature::RSA {
            s: mpi::MPI::new(&[]),
        },
    ));
    let digest = || {
        let mut hash = HashAlgorithm::SHA256.context()?.for_signature(4);
        blank.hash_userid_binding(&mut hash, &public, &user_id)?;
        hash.into_digest()
    };
    let digest: Vec<u8> = digest().map_err(unfit)?;
    let signature = Signature::from(frame([digest[0], digest[1]], sign(&digest)?));
    Cert::from_packets([Packet::from(public), user_id.into(), signature.into()].into_iter())
        .map_err(unfit)
}

/// What a certificate says of its key: as keys that are made here do (see `private`), and no salt, so that it is the same every time.
fn subpackets(key: &Key<PublicParts, PrimaryRole>) -> sequoia_openpgp::Result<SubpacketArea> {
    let created = Timestamp::try_from(key.creation_time())?;
    SubpacketArea::new(vec![
        Subpacket::new(SubpacketValue::SignatureCreationTime(created), true)?,
        Subpacket::new(SubpacketValue::Issuer(key.keyid()), false)?,
        Subpacket::new(SubpacketValue::IssuerFingerprint(key.fingerprint()), false)?,
        Subpacket::new(
            SubpacketValue::KeyFlags(KeyFlags::empty().set_certification().set_signing()),
            true,
        )?,
        Subpacket::new(
            SubpacketValue::PreferredHashAlgorithms(vec![
                HashAlgorithm::SHA512,
                HashAlgorithm::SHA256,
            ]),
            false,
        )?,
    ])
}

#[cfg(test)]
mod tests;
