//! What becomes of orders: one, several, the same one twice, and those that are refused.

use super::rpms::{Variant, package, packages};
use super::{
    COMMITTED_S, NOW, NamedSeal, keep_build, listing, metadata, order, order_of, order_on,
    platform, released, stage,
};
use crate::{GenerationRef, ReleaseError, Seal, SealError, current, prepare, publish, release};
use millrace_core::build::{Build, End, Event, Refused, Stage};
use millrace_core::platform::Platform;
use millrace_core::{Digest, KeyName, Timestamp};
use millrace_store::memory::MemoryStore;
use millrace_store::{AdvanceError, BlobStore, advance};

pub const ALL: &str = "\
aarch64/debug: 
aarch64/os: tally-doc-1.0~rc1-1.el9.noarch.rpm
source: tally-1.0~rc1-1.el9.src.rpm
x86_64/debug: tally-debuginfo-1.0~rc1-1.el9.x86_64.rpm
x86_64/os: tally-1.0~rc1-1.el9.x86_64.rpm tally-c++-1.0~rc1-1.el9.x86_64.rpm tally-doc-1.0~rc1-1.el9.noarch.rpm
";

#[tokio::test]
async fn a_build_is_released_into_every_repository_that_it_belongs_in() {
    let store = MemoryStore::new();
    let order = order(
        &store,
        "build",
        &packages(Variant::First).iter().collect::<Vec<_>>(),
    )
    .await;
    keep_build(&store, &order).await;
    release(&order, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    assert_eq!(listing(&released(&store).await), ALL);
    let (_, generation) = current(&platform().name, &store).await.unwrap().unwrap();
    let end = End::Released {
        order: order.id,
        generation,
        number: 1,
    };
    assert_eq!(stage(&store, &order).await, Stage::Ended { end });
}

#[tokio::test]
async fn a_platform_has_empty_signed_repositories_before_anything_is_released() {
    let store = MemoryStore::new();
    prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
    let first = released(&store).await;
    assert_eq!(
        listing(&first),
        "aarch64/debug: \naarch64/os: \nsource: \nx86_64/debug: \nx86_64/os: \n"
    );
    for (name, repository) in &first.repositories {
        let served = metadata::served(&store, name).await;
        assert!(
            served["primary.xml"].contains("packages=\"0\""),
            "{served:?}"
        );
        let repomd = repository.repodata["repomd.xml"].digest;
        assert_eq!(
            served["repomd.xml.asc"],
            format!("default at 1800000000 signs {repomd}")
        );
    }
    prepare(&platform(), &NamedSeal, &store, NOW.plus_ms(5000))
        .await
        .unwrap();
    assert_eq!(
        released(&store).await,
        first,
        "preparing again changes nothing"
    );
}

#[tokio::test]
async fn a_new_architecture_gets_its_repositories_and_the_others_stay_as_they_are() {
    let store = MemoryStore::new();
    prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
    let before = released(&store).await;
    let grown = Platform {
        architectures: millrace_core::Arch::ALL.to_vec(),
        ..platform()
    };
    prepare(&grown, &NamedSeal, &store, NOW).await.unwrap();
    let after = released(&store).await;
    assert_eq!(after.repositories.len(), 9);
    assert!(
        before
            .repositories
            .iter()
            .all(|(name, repository)| after.repositories[name] == *repository)
    );
}

#[tokio::test]
async fn only_the_repositories_that_an_order_touches_get_new_metadata() {
    let store = MemoryStore::new();
    prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
    let before = released(&store).await;
    publish(
        &order(&store, "build", &[package(Variant::First, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let after = released(&store).await;
    let changed: Vec<&String> = after
        .repositories
        .iter()
        .filter(|(name, repository)| before.repositories[*name] != **repository)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(changed, ["x86_64/os"]);
}

#[tokio::test]
async fn the_same_order_twice_changes_nothing() {
    let store = MemoryStore::new();
    let order = order(
        &store,
        "build",
        &packages(Variant::First).iter().collect::<Vec<_>>(),
    )
    .await;
    keep_build(&store, &order).await;
    release(&order, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    let (before, ended) = (
        current(&platform().name, &store).await.unwrap(),
        stage(&store, &order).await,
    );
    release(&order, &NamedSeal, &store, &store, NOW.plus_ms(60_000))
        .await
        .unwrap();
    publish(&order, &NamedSeal, &store, NOW.plus_ms(60_000))
        .await
        .unwrap();
    assert_eq!(current(&platform().name, &store).await.unwrap(), before);
    assert_eq!(stage(&store, &order).await, ended);
}

#[tokio::test]
async fn a_build_that_was_not_told_is_told_which_generation_first_had_its_packages() {
    let store = MemoryStore::new();
    let first = order(&store, "first", &[package(Variant::First, "tally")]).await;
    keep_build(&store, &first).await;
    // The releaser dies between the swap and the build; another release comes in between.
    let GenerationRef { generation, number } =
        publish(&first, &NamedSeal, &store, NOW).await.unwrap();
    publish(
        &order(&store, "second", &[package(Variant::Second, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    release(&first, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    let end = End::Released {
        order: first.id,
        generation,
        number,
    };
    assert_eq!(stage(&store, &first).await, Stage::Ended { end });
    assert_eq!((number, released(&store).await.number), (1, 2));
}

#[tokio::test]
async fn older_versions_stay() {
    let store = MemoryStore::new();
    for (build, variant) in [("first", Variant::First), ("second", Variant::Second)] {
        publish(
            &order(&store, build, &[package(variant, "tally")]).await,
            &NamedSeal,
            &store,
            NOW,
        )
        .await
        .unwrap();
    }
    let listing = listing(&released(&store).await);
    assert!(
        listing
            .contains("x86_64/os: tally-1.0~rc1-1.el9.x86_64.rpm tally-1.0~rc1-2.el9.x86_64.rpm\n"),
        "{listing}"
    );
}

#[tokio::test]
async fn the_same_version_with_other_content_is_refused_and_the_author_told_what_to_do() {
    let store = MemoryStore::new();
    publish(
        &order(&store, "first", &[package(Variant::First, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let before = released(&store).await;
    let again = order(
        &store,
        "again",
        &[
            package(Variant::Second, "tally-c++"),
            package(Variant::Again, "tally"),
        ],
    )
    .await;
    keep_build(&store, &again).await;
    release(&again, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    let reason = "release: tally-1.0~rc1-1.el9.x86_64 was released before, by build first, with other content: raise Release in the spec \
                  and push again";
    assert_eq!(
        stage(&store, &again).await,
        Stage::Ended {
            end: End::Failed {
                reason: reason.to_owned()
            }
        }
    );
    assert_eq!(
        released(&store).await,
        before,
        "nothing of a refused order is there"
    );
}

#[tokio::test]
async fn a_package_that_differs_in_its_epoch_alone_cannot_take_the_file_of_another() {
    let store = MemoryStore::new();
    publish(
        &order(&store, "first", &[package(Variant::First, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let epoch = order(&store, "epoch", &[package(Variant::Epoch, "tally")]).await;
    let Err(ReleaseError::Refused(reason)) = publish(&epoch, &NamedSeal, &store, NOW).await else {
        panic!("it was released")
    };
    let expected = "tally-1:1.0~rc1-1.el9.x86_64 would have the file name of tally-1.0~rc1-1.el9.x86_64, released by build first: raise \
                    Release in the spec and push again";
    assert_eq!(reason.to_string(), expected);
}

#[tokio::test]
async fn a_package_that_the_platform_has_no_repository_for_is_refused_in_words() {
    let store = MemoryStore::new();
    let files = ["tally-doc", "tally"].map(|name| package(Variant::First, name));
    for package in files {
        store.put(package.bytes.clone()).await.unwrap();
    }
    let elsewhere = Platform {
        architectures: vec![millrace_core::Arch::Aarch64],
        ..platform()
    };
    let order = order_on(
        &elsewhere,
        "build",
        files.map(|package| package.ordered()).to_vec(),
    );
    keep_build(&store, &order).await;
    release(&order, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    let reason = "release: tally-1.0~rc1-1.el9.x86_64 is for x86_64, and platform el-9 has no repository for it";
    assert_eq!(
        stage(&store, &order).await,
        Stage::Ended {
            end: End::Failed {
                reason: reason.to_owned()
            }
        }
    );
    assert_eq!(current(&platform().name, &store).await.unwrap(), None);
}

#[tokio::test]
async fn an_order_that_is_out_is_never_refused_afterwards_whatever_is_asked_of_it_by_then() {
    let store = MemoryStore::new();
    let order = order(
        &store,
        "build",
        &[
            package(Variant::First, "tally"),
            package(Variant::First, "tally-doc"),
        ],
    )
    .await;
    let GenerationRef { generation, number } =
        publish(&order, &NamedSeal, &store, NOW).await.unwrap();
    // A releaser that took less care carried the order out and died; the one that it is delivered to now would refuse it.
    let mut delivered = order.clone();
    delivered.placements[0].into.clear();
    assert_eq!(
        publish(&delivered, &NamedSeal, &store, NOW).await.unwrap(),
        GenerationRef { generation, number }
    );
}

#[tokio::test]
async fn an_order_that_its_build_does_not_vouch_for_releases_nothing() {
    let store = MemoryStore::new();
    let wanted = order(&store, "build", &[package(Variant::First, "tally")]).await;
    let forged = order(&store, "build", &[package(Variant::Second, "tally")]).await;
    release(&wanted, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    keep_build(&store, &wanted).await;
    release(&forged, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    assert_eq!(current(&platform().name, &store).await.unwrap(), None);
    assert_eq!(
        stage(&store, &wanted).await,
        Stage::Releasing { order: wanted.id }
    );
}

#[tokio::test]
async fn the_time_of_the_metadata_is_the_lines_and_never_goes_back() {
    let store = MemoryStore::new();
    let late = NOW.plus_ms(3_600_000);
    publish(
        &order(&store, "first", &[package(Variant::First, "tally")]).await,
        &NamedSeal,
        &store,
        late,
    )
    .await
    .unwrap();
    publish(
        &order(&store, "second", &[package(Variant::Second, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    assert_eq!(released(&store).await.released_s, late.0 / 1000);
    let primary = &metadata::served(&store, "x86_64/os").await["primary.xml"];
    assert_eq!(
        primary.matches(&format!("file=\"{COMMITTED_S}\"")).count(),
        2,
        "a package's own time is its commit's"
    );
}

/// A signer that is not there.
struct NoSeal;

impl Seal for NoSeal {
    async fn seal(&self, _: &KeyName, _: &[u8], _: u64) -> Result<Vec<u8>, SealError> {
        Err(SealError::new("the signer does not answer"))
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        NamedSeal.public_key(key).await
    }
}

#[tokio::test]
async fn without_a_signer_nothing_is_released_and_the_order_waits() {
    let store = MemoryStore::new();
    let order = order(&store, "build", &[package(Variant::First, "tally")]).await;
    keep_build(&store, &order).await;
    let error = release(&order, &NoSeal, &store, &store, NOW)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the metadata is not signed: the signer does not answer"
    );
    assert_eq!(current(&platform().name, &store).await.unwrap(), None);
    assert!(matches!(
        stage(&store, &order).await,
        Stage::Releasing { .. }
    ));
}

#[tokio::test]
async fn a_package_whose_bytes_are_not_there_yet_is_waited_for() {
    let store = MemoryStore::new();
    let order = order_of("build", vec![package(Variant::First, "tally").ordered()]);
    keep_build(&store, &order).await;
    let error = release(&order, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, ReleaseError::Blob(_)), "{error}");
    assert!(matches!(
        stage(&store, &order).await,
        Stage::Releasing { .. }
    ));
}

#[tokio::test]
async fn a_build_hears_of_its_release_once() {
    let store = MemoryStore::new();
    let order = order(&store, "build", &[package(Variant::First, "tally")]).await;
    keep_build(&store, &order).await;
    release(&order, &NamedSeal, &store, &store, NOW)
        .await
        .unwrap();
    let event = Event::Released {
        order: order.id,
        generation: Digest::of(b""),
        number: 1,
    };
    let again: Result<Build, AdvanceError> =
        advance::<Build>(&store, &order.build, event, Timestamp(0)).await;
    assert!(matches!(
        again,
        Err(AdvanceError::Refused(Refused::Already))
    ));
}
