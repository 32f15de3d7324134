//! A platform's key is replaced while builds are on their way.

use super::rpms::{Package, Variant, package};
use super::{NOW, NamedSeal, metadata, order, order_on, platform, released, with_key};
use crate::{Seal, SealError, prepare, publish, rollback};
use millrace_core::KeyName;
use millrace_core::order::ReleaseOrder;
use millrace_store::BlobStore;
use millrace_store::memory::MemoryStore;

/// What clients are told to trust.
async fn certificates(store: &MemoryStore) -> String {
    let list = released(store).await.certificate;
    let bytes = store.read_all(&list.digest, u64::MAX).await.unwrap();
    assert_eq!(bytes.len() as u64, list.size);
    String::from_utf8(bytes).unwrap()
}

async fn assert_all_sealed_by(key: &str, store: &MemoryStore) {
    for name in released(store).await.repositories.keys() {
        let seal = &metadata::served(store, name).await["repomd.xml.asc"];
        assert!(seal.starts_with(&format!("{key} at ")), "{name}: {seal}");
    }
}

/// An order of a build that was planned when the platform had this key.
async fn planned_under(key: &str, store: &MemoryStore, package: &Package) -> ReleaseOrder {
    store.put(package.bytes.clone()).await.unwrap();
    order_on(&with_key(key), "planned", vec![package.ordered()])
}

#[tokio::test]
async fn a_new_key_signs_all_metadata_anew_and_the_old_ones_certificate_stays_known() {
    let store = MemoryStore::new();
    publish(
        &order(&store, "build", &[package(Variant::First, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let rekeyed = with_key("newer");
    prepare(&rekeyed, &NamedSeal, &store, NOW).await.unwrap();
    let generation = released(&store).await;
    assert_eq!(certificates(&store).await, "key newer\nkey default");
    assert_all_sealed_by("newer", &store).await;
    prepare(&rekeyed, &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(released(&store).await, generation);
}

#[tokio::test]
async fn a_build_that_was_planned_under_the_earlier_key_does_not_bring_it_back() {
    let store = MemoryStore::new();
    publish(
        &order(&store, "build", &[package(Variant::First, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    prepare(&with_key("newer"), &NamedSeal, &store, NOW)
        .await
        .unwrap();
    let late = planned_under("default", &store, package(Variant::Second, "tally")).await;
    publish(&late, &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(released(&store).await.key.as_str(), "newer");
    assert_all_sealed_by("newer", &store).await;
    assert_eq!(certificates(&store).await, "key newer\nkey default");
    rollback(&platform().name, 1, &NamedSeal, &store, NOW)
        .await
        .unwrap();
    assert_eq!(
        released(&store).await.key.as_str(),
        "newer",
        "going back brings packages back, not keys"
    );
    assert_all_sealed_by("newer", &store).await;
}

#[tokio::test]
async fn a_package_that_is_signed_with_a_key_nobody_knows_yet_brings_its_certificate() {
    let store = MemoryStore::new();
    prepare(&with_key("newer"), &NamedSeal, &store, NOW)
        .await
        .unwrap();
    let late = planned_under("default", &store, package(Variant::First, "tally")).await;
    publish(&late, &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(certificates(&store).await, "key newer\nkey default");
    assert_all_sealed_by("newer", &store).await;
    let before = released(&store).await;
    publish(&late, &NamedSeal, &store, NOW).await.unwrap();
    assert_eq!(released(&store).await, before);
}

#[tokio::test]
async fn each_certificate_is_listed_once_however_often_keys_change_places() {
    let store = MemoryStore::new();
    for key in ["default", "newer", "default", "new", "newer"] {
        prepare(&with_key(key), &NamedSeal, &store, NOW)
            .await
            .unwrap();
        assert_all_sealed_by(key, &store).await;
    }
    // The certificate of `new` is how that of `newer` begins, and is another one.
    assert_eq!(
        certificates(&store).await,
        "key new\nkey newer\nkey default"
    );
}

/// Keys that were made again under their old names.
struct MadeAnew;

impl Seal for MadeAnew {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        NamedSeal
            .seal(&format!("{key}-2").parse().unwrap(), repomd, signed_s)
            .await
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        NamedSeal
            .public_key(&format!("{key}-2").parse().unwrap())
            .await
    }
}

#[tokio::test]
async fn a_key_that_was_made_anew_under_its_old_name_is_trusted_from_the_first_seal_on() {
    let store = MemoryStore::new();
    publish(
        &order(&store, "build", &[package(Variant::First, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    prepare(&with_key("newer"), &NamedSeal, &store, NOW)
        .await
        .unwrap();
    let late = planned_under("default", &store, package(Variant::Second, "tally")).await;
    publish(&late, &MadeAnew, &store, NOW).await.unwrap();
    assert_eq!(
        certificates(&store).await,
        "key newer\nkey default\nkey newer-2\nkey default-2"
    );
    prepare(&with_key("newer"), &MadeAnew, &store, NOW)
        .await
        .unwrap();
    assert_all_sealed_by("newer-2", &store).await;
    assert_eq!(
        certificates(&store).await,
        "key newer\nkey default\nkey newer-2\nkey default-2"
    );
}
