//! Orders at the same time, cut short anywhere, and taken back.

use super::rpms::{Variant, package, packages};
use super::stories::ALL;
use super::{NOW, NamedSeal, keep_build, listing, metadata, order, platform, released, stage};
use crate::{ReleaseError, Seal, SealError, prepare, publish, release, rollback, withdraw};
use millrace_core::KeyName;
use millrace_core::build::{End, Stage};
use millrace_store::memory::MemoryStore;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Lets another release happen while this one waits for its signature.
struct Interrupted<'a>(&'a MemoryStore, &'a millrace_core::order::ReleaseOrder);

impl Seal for Interrupted<'_> {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        publish(self.1, &NamedSeal, self.0, NOW)
            .await
            .map_err(SealError::new)?;
        NamedSeal.seal(key, repomd, signed_s).await
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        NamedSeal.public_key(key).await
    }
}

/// Lets somebody take the first release back while this one begins.
struct RolledBack<'a>(&'a MemoryStore);

impl Seal for RolledBack<'_> {
    async fn seal(
        &self,
        key: &KeyName,
        repomd: &[u8],
        signed_s: u64,
    ) -> Result<Vec<u8>, SealError> {
        NamedSeal.seal(key, repomd, signed_s).await
    }

    async fn public_key(&self, key: &KeyName) -> Result<Vec<u8>, SealError> {
        rollback(&platform().name, 1, &NamedSeal, self.0, NOW)
            .await
            .map_err(SealError::new)?;
        NamedSeal.public_key(key).await
    }
}

#[tokio::test]
async fn nothing_is_refused_for_a_file_that_is_gone_by_then() {
    let store = MemoryStore::new();
    prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
    let first = order(&store, "first", &[package(Variant::First, "tally")]).await;
    publish(&first, &NamedSeal, &store, NOW).await.unwrap();
    let again = order(&store, "again", &[package(Variant::Again, "tally")]).await;
    let refused = publish(&again, &NamedSeal, &store, NOW).await.unwrap_err();
    assert!(matches!(refused, ReleaseError::Refused(_)), "{refused}");
    publish(&again, &RolledBack(&store), &store, NOW)
        .await
        .unwrap();
    let builds: Vec<String> = released(&store)
        .await
        .builds()
        .map(|id| id.to_string())
        .collect();
    assert_eq!(builds, ["again"]);
}

#[tokio::test]
async fn two_orders_at_once_both_land() {
    let store = MemoryStore::new();
    let first = order(&store, "first", &[package(Variant::First, "tally")]).await;
    let second = order(&store, "second", &[package(Variant::Second, "tally")]).await;
    let released_first = publish(&first, &Interrupted(&store, &second), &store, NOW)
        .await
        .unwrap();
    let generation = released(&store).await;
    assert_eq!((released_first.number, generation.number), (2, 2));
    assert_eq!(
        generation
            .builds()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["first", "second"]
    );
    let primary = &metadata::served(&store, "x86_64/os").await["primary.xml"];
    assert!(
        primary.contains("packages=\"2\"")
            && primary.contains("rel=\"1.el9\"")
            && primary.contains("rel=\"2.el9\""),
        "{primary}"
    );
}

#[tokio::test]
async fn many_orders_at_once_all_land_once() {
    let store = MemoryStore::with_yields();
    let names = ["tally", "tally-c++", "tally-doc", "tally-debuginfo"];
    let mut running = tokio::task::JoinSet::new();
    for variant in [Variant::First, Variant::Second] {
        for name in names {
            let package = package(variant, name);
            let order = order(&store, &package.name.replace('~', "_"), &[package]).await;
            let store = store.clone();
            running.spawn(async move {
                publish(&order, &NamedSeal, &store, NOW)
                    .await
                    .unwrap()
                    .number
            });
        }
    }
    let mut numbers = running.join_all().await;
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    let generation = released(&store).await;
    assert_eq!(generation.repositories["x86_64/os"].packages.len(), 6);
    assert_eq!(generation.repositories["x86_64/debug"].packages.len(), 2);
}

#[tokio::test]
async fn a_releaser_that_dies_anywhere_leaves_all_of_a_release_or_nothing() {
    let mut steps = 0;
    loop {
        let store = MemoryStore::with_yields();
        prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
        let order = order(
            &store,
            "build",
            &packages(Variant::First).iter().collect::<Vec<_>>(),
        )
        .await;
        keep_build(&store, &order).await;
        let finished = run_for(steps, release(&order, &NamedSeal, &store, &store, NOW)).await;
        let generation = released(&store).await;
        let packages: usize = generation
            .repositories
            .values()
            .map(|repository| repository.packages.len())
            .sum();
        assert!(
            packages == 0 || packages == 6,
            "after {steps} steps there are {packages} packages"
        );
        for (name, repository) in &generation.repositories {
            let served = metadata::served(&store, name).await;
            assert!(
                served["primary.xml"]
                    .contains(&format!("packages=\"{}\"", repository.packages.len()))
            );
        }
        release(&order, &NamedSeal, &store, &store, NOW)
            .await
            .unwrap();
        assert_eq!(
            listing(&released(&store).await),
            ALL,
            "after {steps} steps and another delivery"
        );
        assert_eq!(released(&store).await.number, 2);
        assert!(matches!(
            stage(&store, &order).await,
            Stage::Ended {
                end: End::Released { number: 2, .. }
            }
        ));
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(steps > 50, "{steps} steps are not what a release takes");
}

/// Runs a future for this many of its pauses; whether it ended.
async fn run_for(steps: usize, future: impl Future<Output = Result<(), ReleaseError>>) -> bool {
    let mut future = std::pin::pin!(future);
    let mut left = steps;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(result) => {
            result.unwrap();
            std::task::Poll::Ready(true)
        }
        std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(false),
        std::task::Poll::Pending => {
            left -= 1;
            std::task::Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn of_carrying_an_order_out_and_taking_it_back_exactly_one_happens() {
    let (mut carried_out, mut taken_back) = (0, 0);
    for pauses in 0.. {
        let store = MemoryStore::with_yields();
        prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
        let order = order(&store, "build", &[package(Variant::First, "tally")]).await;
        let (mut left, mut releasing) = (pauses, pin!(publish(&order, &NamedSeal, &store, NOW)));
        let ended = poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            releasing.as_mut().poll(context).map(Some)
        });
        let ended = ended.await;
        let is_last = ended.is_some();
        let withdrawn = withdraw(&order, &store).await.unwrap();
        let published = match ended {
            Some(published) => published,
            None => releasing.await,
        };
        let is_out = listing(&released(&store).await).contains("tally-1.0");
        match (withdrawn, published) {
            (Some(out), Ok(published)) => {
                assert_eq!((out, is_out), (published, true), "after {pauses} pauses");
                carried_out += 1;
            }
            (None, Err(ReleaseError::Refused(reason))) => {
                assert_eq!(
                    (reason.to_string().as_str(), is_out),
                    (
                        "the release was given up before it was carried out: push again",
                        false
                    )
                );
                taken_back += 1;
            }
            (withdrawn, published) => {
                panic!("after {pauses} pauses: {withdrawn:?} and {published:?}")
            }
        }
        if is_last {
            break;
        }
    }
    assert!(
        carried_out >= 1 && taken_back > 10,
        "{carried_out} were carried out, {taken_back} taken back"
    );
}

#[tokio::test]
async fn an_order_that_was_taken_back_stays_so_through_the_releases_of_others() {
    let store = MemoryStore::new();
    prepare(&platform(), &NamedSeal, &store, NOW).await.unwrap();
    let before = released(&store).await;
    let late = order(&store, "late", &[package(Variant::First, "tally")]).await;
    assert_eq!(withdraw(&late, &store).await.unwrap(), None);
    assert_eq!(
        withdraw(&late, &store).await.unwrap(),
        None,
        "twice is once"
    );
    assert_eq!(
        released(&store).await,
        before,
        "who reads the repositories notices nothing"
    );
    publish(
        &order(&store, "other", &[package(Variant::First, "tally-doc")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let refused = publish(&late, &NamedSeal, &store, NOW).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the release was given up before it was carried out: push again"
    );
}
