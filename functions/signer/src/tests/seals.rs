//! Signatures over repository metadata, and keepers of keys that are not well.

use super::rpms::packages;
use super::{COMMITTED_S, FaultyKeys, desk, key};
use crate::keys::Keys as _;
use crate::signature::{is_signed_by, sign_bytes};
use crate::{FileProblem, SignError, seal, sign_files};

#[tokio::test]
async fn a_seal_verifies_and_is_the_same_every_time() {
    use sequoia_openpgp::{PacketPile, parse::Parse as _, serialize::MarshalInto as _};
    let desk = desk().await;
    let seal_of = |bytes: &[u8]| seal(&desk.keys, &key("release"), bytes, COMMITTED_S).unwrap();
    let sealed = seal_of(b"<repomd/>");
    assert_eq!(sealed, seal_of(b"<repomd/>"));
    assert!(sealed.starts_with(b"-----BEGIN PGP SIGNATURE-----\n"));
    let packets = PacketPile::from_bytes(&sealed).unwrap();
    assert_eq!(packets.children().count(), 1);
    let packet = packets.children().next().unwrap().to_vec().unwrap();
    let certificate = desk.keys.certificate(&key("release")).unwrap();
    assert!(is_signed_by(&certificate, &packet, b"<repomd/>"));
    assert!(!is_signed_by(&certificate, &packet, b"<repomd />"));
    assert!(!is_signed_by(
        &desk.keys.certificate(&key("other")).unwrap(),
        &packet,
        b"<repomd/>"
    ));
    assert_eq!(
        sign_bytes(&desk.keys, &key("release"), b"<repomd/>", COMMITTED_S)
            .unwrap()
            .packet,
        packet
    );
}

#[tokio::test]
async fn a_signature_that_does_not_verify_after_writing_is_not_handed_on() {
    let desk = desk().await;
    let order = desk.order("release", &[&packages().hello]).await;
    let confused = FaultyKeys::Confused(desk.keys.clone());
    let error = sign_files(&order, &confused, &desk.store)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SignError::File {
                problem: FileProblem::Written(_),
                ..
            }
        ),
        "{error}"
    );
    let error = seal(&confused, &order.key, b"<repomd/>", COMMITTED_S).unwrap_err();
    assert!(error.to_string().contains("does not verify"), "{error}");
}
