//! Keys as people bring them along: made by the builder of sequoia, since what matters here is what stands in them.

use super::*;
use crate::header::{base64, hexadecimal};
use sequoia_openpgp::cert::{CertBuilder, CipherSuite};
use sequoia_openpgp::serialize::SerializeInto as _;
use sequoia_openpgp::types::{KeyFlags, ReasonForRevocation};
use std::time::SystemTime;

const CREATED_S: u64 = 1_780_000_000;
const NOW_S: u64 = 1_790_000_000;
const PASSWORD: &str = "correct horse";

fn name() -> KeyName {
    KeyName::new("release").unwrap()
}

fn created() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(CREATED_S)
}

/// One that certifies and signs, with a subkey for something else, as gpg makes them.
fn usual() -> CertBuilder<'static> {
    CertBuilder::new()
        .set_creation_time(created())
        .set_cipher_suite(CipherSuite::Cv25519)
        .add_userid("Example Linux <security@example.org>")
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        .add_storage_encryption_subkey()
}

fn made(builder: CertBuilder<'_>) -> Cert {
    builder.generate().unwrap().0
}

fn written(cert: &Cert) -> Vec<u8> {
    cert.as_tsk().armored().to_vec().unwrap()
}

fn brought(bytes: &[u8]) -> Result<PrivateKey, KeyError> {
    PrivateKey::import(&name(), bytes.to_vec(), None, NOW_S)
}

fn refusal(bytes: &[u8]) -> String {
    let error = brought(bytes).unwrap_err();
    assert!(matches!(error, KeyError::Unfit { .. }));
    error.to_string()
}

#[test]
fn a_key_that_was_brought_keeps_its_certificate_and_of_private_halves_the_primary_keys() {
    let cert = made(usual());
    for bytes in [written(&cert), cert.as_tsk().to_vec().unwrap()] {
        let private = brought(&bytes).unwrap();
        assert_eq!(
            private.certificate(),
            cert.clone().strip_secret_key_material()
        );
        assert_eq!(private.fingerprint(), cert.fingerprint().to_hex());
        let kept = Cert::from_bytes(&private.armored()).unwrap();
        let secret: Vec<_> = kept
            .keys()
            .secret()
            .map(|key| key.key().fingerprint())
            .collect();
        assert_eq!((kept.keys().count(), secret), (2, vec![cert.fingerprint()]));
        let again = PrivateKey::read(&name(), &private.armored()).unwrap();
        assert_eq!(
            again.sign_digest(&name(), &[7; 32]).unwrap(),
            private.sign_digest(&name(), &[7; 32]).unwrap()
        );
    }
}

#[test]
fn a_password_is_taken_off_by_whoever_knows_it() {
    let bytes = written(&made(usual().set_password(Some(PASSWORD.into()))));
    assert!(refusal(&bytes).contains("--password-file"));
    let with =
        |password: &str| PrivateKey::import(&name(), bytes.clone(), Some(password.into()), NOW_S);
    assert!(
        with("wrong")
            .unwrap_err()
            .to_string()
            .contains("its password is another one")
    );
    for file in [
        PASSWORD.to_owned(),
        format!("{PASSWORD}\n"),
        format!("{PASSWORD}\r\nmore"),
    ] {
        with(&file).unwrap().sign_digest(&name(), &[7; 32]).unwrap();
    }
    let open = written(&made(usual()));
    assert!(
        PrivateKey::import(&name(), open, Some(PASSWORD.into()), NOW_S).is_ok(),
        "there is none to take off"
    );
}

#[test]
fn a_key_that_cannot_sign_so_that_every_rpm_takes_it_is_refused_with_what_to_do() {
    let cert = made(usual());
    let said = |builder: CertBuilder<'_>| refusal(&written(&made(builder)));
    assert!(said(usual().set_cipher_suite(CipherSuite::P256)).contains("RSA and Ed25519"));
    let certifies_only = usual()
        .set_primary_key_flags(KeyFlags::empty().set_certification())
        .add_signing_subkey();
    assert!(said(certifies_only).contains("primary key may not sign"));
    assert!(
        said(usual().set_validity_period(Duration::from_secs(1000))).contains("--quick-set-expire")
    );
    assert!(
        refusal(
            &cert
                .clone()
                .strip_secret_key_material()
                .armored()
                .to_vec()
                .unwrap()
        )
        .contains("--export-secret-keys")
    );
    let mut pair = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .unwrap()
        .into_keypair()
        .unwrap();
    let revocation = cert
        .revoke(&mut pair, ReasonForRevocation::KeyCompromised, b"")
        .unwrap();
    assert!(
        refusal(&written(
            &cert.clone().insert_packets([revocation]).unwrap().0
        ))
        .contains("it is revoked")
    );
    let two = [
        cert.as_tsk().to_vec().unwrap(),
        made(usual()).as_tsk().to_vec().unwrap(),
    ]
    .concat();
    for bytes in [&two[..], b"", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"] {
        assert!(refusal(bytes).contains("not one OpenPGP key"));
    }
}

#[test]
fn a_key_that_no_secret_has_room_for_is_refused_with_how_to_export_a_smaller_one() {
    let cert = made((0..300).fold(usual(), |builder, number| {
        builder.add_userid(format!("Example {number} <a@example.org>"))
    }));
    assert!(written(&cert).len() > KEY_BYTES_MAX);
    assert!(refusal(&written(&cert)).contains("export-minimal"));
}

/// Nine bytes of the private number from any place on, as they could stand in a text.
fn secrets(cert: &Cert) -> Vec<String> {
    let pair = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .unwrap()
        .into_keypair()
        .unwrap();
    let bytes = pair.secret().map(|numbers| match numbers {
        mpi::SecretKeyMaterial::EdDSA { scalar } => scalar.value().to_vec(),
        other => panic!("not what was made: {:?}", other.algo()),
    });
    let forms = |part: &[u8]| {
        let hexadecimal = hexadecimal(part);
        [
            base64(part),
            hexadecimal.to_uppercase(),
            hexadecimal,
            format!("{part:?}").trim_matches(['[', ']']).to_owned(),
        ]
    };
    bytes.windows(9).flat_map(forms).collect()
}

#[test]
fn what_is_said_of_a_key_and_of_its_damage_tells_nothing_of_its_private_half() {
    let cert = made(usual());
    let (secrets, bytes) = (secrets(&cert), written(&cert));
    assert!(
        secrets
            .iter()
            .any(|secret| String::from_utf8_lossy(&bytes).contains(secret)),
        "the search finds what is there"
    );
    let mut said = vec![format!(
        "{:?} {:#?}",
        brought(&bytes).unwrap(),
        brought(&bytes)
    )];
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
        let errors = [brought(&damaged), brought(&bytes[..at])].map(Result::err);
        said.extend(
            errors
                .into_iter()
                .flatten()
                .map(|error| format!("{error} {error:?} {error:#?}")),
        );
    }
    assert!(said.len() > 100, "damage must show: {}", said.len());
    for text in said {
        assert!(
            !secrets.iter().any(|secret| text.contains(secret)),
            "tells of the private key: {text}"
        );
    }
}
