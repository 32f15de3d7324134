//! Packages that are signed: what `rpmkeys` says of them, and what is rewritten.

use super::rpms::{packages, rpmkeys};
use super::{CREATED_S, desk, is_well_signed, key, key_id};
use crate::header::signatures;
use crate::keys::{Algorithm, Keys as _};
use crate::sign_files;
use millrace_core::header::read_head;

#[tokio::test]
async fn rpmkeys_finds_every_kind_of_package_well_signed() {
    let desk = desk().await;
    desk.keys
        .create(
            &key("rsa"),
            "Test <test@example.org>",
            Algorithm::Rsa4096,
            CREATED_S,
        )
        .unwrap();
    let all = packages();
    for (name, algorithm) in [("rsa", "RSA"), ("release", "EdDSA")] {
        let order = desk
            .order(name, &[&all.hello, &all.long, &all.source, &all.tight])
            .await;
        for signed in sign_files(&order, &desk.keys, &desk.store).await.unwrap() {
            let said = rpmkeys(
                &desk.keys.public(&key(name)).unwrap(),
                &desk.bytes(&signed).await,
            );
            assert!(
                is_well_signed(&said, algorithm, &key_id(&desk.keys, name)),
                "{said}"
            );
        }
    }
    let said = rpmkeys(&desk.keys.public(&key("rsa")).unwrap(), &all.hello);
    assert!(
        !said.contains("ignature"),
        "an unsigned package is told apart: {said}"
    );
    let said = rpmkeys(
        &desk.keys.public(&key("other")).unwrap(),
        &desk.signed("release", &all.hello).await,
    );
    assert!(said.contains("NOKEY"), "{said}");
}

#[tokio::test]
async fn nothing_but_the_signature_header_is_rewritten() {
    let desk = desk().await;
    let all = packages();
    for (package, has_room) in [
        (&all.hello, true),
        (&all.long, true),
        (&all.source, true),
        (&all.tight, false),
    ] {
        let signed = desk.signed("release", package).await;
        let (before, after) = (read_head(package).unwrap(), read_head(&signed).unwrap());
        assert_eq!(before.lead, after.lead);
        assert_eq!(
            package[before.header_at as usize..],
            signed[after.header_at as usize..]
        );
        for entry in before
            .signature
            .entries
            .iter()
            .filter(|entry| ![999, 1008].contains(&entry.tag))
        {
            assert_eq!(after.signature.entry(entry.tag), Some(entry));
        }
        let (binary, listed) = signatures(&after.signature);
        assert!(binary.is_some() && listed.len() == 1);
        assert_eq!(signed.len() == package.len(), has_room);
    }
}

#[tokio::test]
async fn signing_twice_and_signing_what_is_signed_come_to_the_same_bytes() {
    let desk = desk().await;
    let all = packages();
    for package in [&all.hello, &all.tight] {
        let once = desk.signed("release", package).await;
        assert_eq!(desk.signed("release", package).await, once);
        assert_eq!(desk.signed("release", &once).await, once);
    }
}

#[tokio::test]
async fn a_signature_by_another_key_is_replaced() {
    let desk = desk().await;
    desk.keys
        .create(
            &key("rsa"),
            "Test <test@example.org>",
            Algorithm::Rsa4096,
            CREATED_S,
        )
        .unwrap();
    let by_others = desk
        .signed("other", &desk.signed("rsa", &packages().hello).await)
        .await;
    assert_eq!(by_others, desk.signed("other", &packages().hello).await);
    assert_eq!(
        desk.signed("release", &by_others).await,
        desk.signed("release", &packages().hello).await
    );
}
