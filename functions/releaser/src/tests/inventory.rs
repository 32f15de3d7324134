//! Names that were released before they belonged to anybody.

use super::rpms::{Variant, packages};
use super::{NOW, NamedSeal, keep_build, order, platform};
use crate::{claim_released, release};
use millrace_core::ownership::{OwnedName, ReleaseTarget};
use millrace_store::memory::MemoryStore;
use millrace_store::ownership::{claims, inventory, is_inventory_whole};
use millrace_store::state::DELIVERIES_MAX;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

fn target() -> ReleaseTarget {
    ReleaseTarget::of_platform(&platform().name)
}

/// A line of before: it has released the packages of one build.
async fn released_before(store: &MemoryStore) {
    let packages = packages(Variant::First).iter().collect::<Vec<_>>();
    let order = order(store, "build", &packages).await;
    keep_build(store, &order).await;
    release(&order, &NamedSeal, store, store, NOW)
        .await
        .unwrap();
}

async fn owners(store: &MemoryStore, names: &[&str]) -> Vec<Option<String>> {
    let parsed: Vec<OwnedName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let known = claims(store, &target(), parsed.clone()).await.unwrap();
    let owner = |name| Some(known.get(name)?.owner.as_ref()?.package.to_string());
    parsed.iter().map(owner).collect()
}

const NAMES: [&str; 5] = [
    "source:tally",
    "tally",
    "tally-c++",
    "/usr/bin/tally",
    "/usr/bin/count",
];

#[tokio::test]
async fn an_upgrade_gives_released_names_to_the_packages_that_released_them() {
    let store = MemoryStore::new();
    released_before(&store).await;
    assert!(!is_inventory_whole(&store, &target(), NOW).await.unwrap());
    for _ in 0..2 {
        claim_released(&platform().name, &store, &store, NOW)
            .await
            .unwrap();
        assert!(is_inventory_whole(&store, &target(), NOW).await.unwrap());
        assert_eq!(
            owners(&store, &NAMES).await,
            vec![Some("tally".to_owned()); NAMES.len()]
        );
        assert_eq!(
            owners(&store, &["tallyho", "counter"]).await,
            [None, None],
            "what it replaces and provides is not its own"
        );
    }
}

#[tokio::test]
async fn a_platform_that_has_released_nothing_is_done_at_once() {
    let store = MemoryStore::new();
    claim_released(&platform().name, &store, &store, NOW)
        .await
        .unwrap();
    let (inventory, _) = inventory(&store, &target()).await.unwrap().unwrap();
    assert!(inventory.is_whole && inventory.packages_done == 0);
}

#[tokio::test]
async fn an_inventory_that_is_cut_off_anywhere_is_whole_after_the_next() {
    for pauses in 0.. {
        let store = MemoryStore::with_yields();
        released_before(&store).await;
        let mut left = pauses;
        let platform = platform().name;
        let whole = {
            let mut claiming = pin!(claim_released(&platform, &store, &store, NOW));
            poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(false);
                }
                left -= 1;
                claiming.as_mut().poll(context).map(|_| true)
            })
            .await
        };
        claim_released(&platform, &store, &store, NOW)
            .await
            .unwrap();
        assert_eq!(
            owners(&store, &NAMES).await,
            vec![Some("tally".to_owned()); NAMES.len()]
        );
        if whole {
            assert!(
                pauses > DELIVERIES_MAX,
                "{pauses} places to be cut off are too few"
            );
            break;
        }
    }
}
