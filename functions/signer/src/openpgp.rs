//! What everything that touches OpenPGP here shares: which keys rpm takes, and ASCII armor.

use crate::header::Legacy;
use sequoia_openpgp::armor::{Kind, Writer};
use sequoia_openpgp::cert::Cert;
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::packet::Key;
use sequoia_openpgp::packet::key::{PublicParts, UnspecifiedRole};
use sequoia_openpgp::packet::signature::Signature4;
use sequoia_openpgp::packet::signature::subpacket::SubpacketArea;
use sequoia_openpgp::types::{Curve, HashAlgorithm, PublicKeyAlgorithm, SignatureType};
use std::io;

/// The primary key of a certificate.
pub(crate) fn primary(certificate: &Cert) -> &Key<PublicParts, UnspecifiedRole> {
    certificate.primary_key().key().role_as_unspecified()
}

/// What rpm calls signatures by this key; none if no rpm takes them.
pub(crate) fn legacy(key: &Key<PublicParts, UnspecifiedRole>) -> Option<Legacy> {
    match (key.version(), key.pk_algo(), key.mpis()) {
        (4, PublicKeyAlgorithm::RSAEncryptSign, _) => Some(Legacy::Rsa),
        (
            4,
            PublicKeyAlgorithm::EdDSA,
            mpi::PublicKey::EdDSA {
                curve: Curve::Ed25519,
                ..
            },
        ) => Some(Legacy::EdDsa),
        // rpm 4 calls a signature bad that it does not know, where it is written for rpm 4.
        _ => None,
    }
}

/// A signature of version 4 with these numbers and the first two bytes of the digest that they sign (RFC 9580, 5.2.3). What is hashed for it is
/// its other fields, so one with any numbers will do to compute the digest.
pub(crate) fn signature4(
    kind: SignatureType,
    algorithm: PublicKeyAlgorithm,
    hashed: &SubpacketArea,
    prefix: [u8; 2],
    numbers: mpi::Signature,
) -> Signature4 {
    Signature4::new(
        kind,
        algorithm,
        HashAlgorithm::SHA256,
        hashed.clone(),
        SubpacketArea::default(),
        prefix,
        numbers,
    )
}

/// ASCII armor (RFC 9580, 6) around what is written.
pub(crate) fn armored(
    kind: Kind,
    write: impl FnOnce(&mut dyn io::Write) -> sequoia_openpgp::Result<()>,
) -> String {
    let armor = || {
        let mut writer = Writer::new(Vec::new(), kind)?;
        write(&mut writer)?;
        sequoia_openpgp::Result::Ok(String::from_utf8(writer.finalize()?)?)
    };
    armor().expect("armor is ASCII, and what is written was made or written before")
}
