//! What KMS would say, made by keys of this process: the public key as DER, the signature as bytes.

use super::*;
use crate::Keys;
use crate::openpgp::primary;
use crate::signature::{is_signed_by, seal, sign_bytes};
use rsa::pkcs8::EncodePublicKey as _;
use rsa::{BigUint, RsaPublicKey};
use sequoia_openpgp::crypto::Signer as _;
use sequoia_openpgp::packet::key::{SecretParts, UnspecifiedRole};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::types::Curve;

const CREATED_S: u32 = 1_780_000_000;
const USER_ID: &str = "Example Linux <security@example.org>";

/// What comes before the 32 bytes of an Ed25519 public key in DER (RFC 8410, 10.1).
const ED25519_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The same before the 65 bytes of one on the curve P-256 (RFC 5480, 2.1).
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key as KMS shows it: what it signs with stays inside.
#[derive(Clone)]
struct Shown {
    pair: Key<SecretParts, UnspecifiedRole>,
}

impl Shown {
    fn ed25519() -> Self {
        let mut key: Key4<SecretParts, UnspecifiedRole> =
            Key4::generate_ecc(true, Curve::Ed25519).unwrap();
        key.set_creation_time(Timestamp::from(CREATED_S)).unwrap();
        Self { pair: key.into() }
    }

    /// With fewer bits than a real one, for it is made again each time.
    fn rsa() -> Self {
        let mut key: Key4<SecretParts, UnspecifiedRole> = Key4::generate_rsa(2048).unwrap();
        key.set_creation_time(Timestamp::from(CREATED_S)).unwrap();
        Self { pair: key.into() }
    }

    fn der(&self) -> Vec<u8> {
        match self.pair.mpis() {
            mpi::PublicKey::EdDSA { q, .. } => [&ED25519_HEAD, &q.value()[1..]].concat(),
            mpi::PublicKey::RSA { e, n } => {
                let number = |number: &mpi::MPI| BigUint::from_bytes_be(number.value());
                RsaPublicKey::new(number(n), number(e))
                    .unwrap()
                    .to_public_key_der()
                    .unwrap()
                    .into_vec()
            }
            other => panic!("not what was made: {other:?}"),
        }
    }

    fn signature(&self, digest: &[u8]) -> Vec<u8> {
        match self
            .pair
            .clone()
            .into_keypair()
            .unwrap()
            .sign(HashAlgorithm::SHA256, digest)
            .unwrap()
        {
            mpi::Signature::EdDSA { r, s } => {
                [r.value_padded(32).unwrap(), s.value_padded(32).unwrap()].concat()
            }
            mpi::Signature::RSA { s } => s.value().to_vec(),
            other => panic!("not what was made: {other:?}"),
        }
    }
}

impl Keys for Shown {
    fn certificate(&self, key: &KeyName) -> Result<Cert, KeyError> {
        certify(
            key,
            public_key(&self.der(), CREATED_S).unwrap(),
            USER_ID,
            |digest| self.sign_digest(key, digest),
        )
    }

    fn sign_digest(&self, _: &KeyName, digest: &[u8]) -> Result<mpi::Signature, KeyError> {
        Ok(numbers(self.pair.pk_algo(), &self.signature(digest)).unwrap())
    }
}

#[test]
fn keys_of_both_kinds_are_the_keys_that_they_are_elsewhere_and_their_signatures_verify() {
    let name = KeyName::new("release").unwrap();
    for keys in [Shown::ed25519(), Shown::rsa()] {
        let certificate = keys.certificate(&name).unwrap();
        assert_eq!(certificate.fingerprint(), keys.pair.fingerprint());
        assert_eq!(
            certificate,
            keys.certificate(&name).unwrap(),
            "it is made anew, and is the same"
        );
        let policy = StandardPolicy::new();
        let valid = certificate.with_policy(&policy, None).unwrap();
        assert!(valid.primary_key().for_signing() && valid.primary_key().for_certification());
        assert_eq!(
            valid.primary_userid().unwrap().userid().value(),
            USER_ID.as_bytes()
        );
        let made = sign_bytes(&keys, &name, b"header", 1_790_000_000).unwrap();
        assert!(is_signed_by(&certificate, &made.packet, b"header"));
        assert!(!is_signed_by(&certificate, &made.packet, b"Header"));
        seal(&keys, &name, b"<repomd/>", 1_790_000_000).unwrap();
    }
}

#[test]
fn an_ed25519_key_is_written_in_the_form_that_rpm_4_knows() {
    let keys = Shown::ed25519();
    let certificate = keys.certificate(&KeyName::new("release").unwrap()).unwrap();
    assert_eq!(
        (
            primary(&certificate).version(),
            primary(&certificate).pk_algo()
        ),
        (4, PublicKeyAlgorithm::EdDSA)
    );
}

#[test]
fn numbers_that_begin_with_zeros_come_out_right() {
    let signature = [[0, 0, 7].repeat(10), vec![1, 2], [0; 31].to_vec(), vec![9]].concat();
    let Some(mpi::Signature::EdDSA { r, s }) = numbers(PublicKeyAlgorithm::EdDSA, &signature)
    else {
        panic!("no signature")
    };
    assert_eq!(r.value_padded(32).unwrap()[..], signature[..32]);
    assert_eq!(s.value_padded(32).unwrap()[..], signature[32..]);
}

#[test]
fn what_no_rpm_takes_is_no_key_and_no_signature() {
    let ed25519 = Shown::ed25519().der();
    let p256 = [&P256_HEAD[..], &[4], &[7; 64]].concat();
    for der in [
        &p256[..],
        &ed25519[..43],
        &[ed25519.as_slice(), &[0]].concat(),
        b"",
        b"key",
    ] {
        assert!(public_key(der, CREATED_S).is_none(), "{der:?}");
    }
    for length in [0, 1, 32, 63, 65, 128] {
        assert!(
            numbers(PublicKeyAlgorithm::EdDSA, &vec![7; length]).is_none(),
            "{length} bytes"
        );
    }
    assert!(numbers(PublicKeyAlgorithm::ECDSA, &[7; 64]).is_none());
}
