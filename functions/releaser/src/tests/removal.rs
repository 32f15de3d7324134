//! Packages that are taken out again.

use super::rpms::{Variant, packages};
use super::stories::ALL;
use super::{NOW, NamedSeal, keep_build, listing, metadata, order, platform, released};
use crate::{ReleaseError, RollbackOutcome, release, remove, rollback};
use millrace_store::memory::MemoryStore;

/// Releases the packages of a build of `tally`.
async fn release_all(store: &MemoryStore, build: &str, variant: Variant) {
    let packages = packages(variant).iter().collect::<Vec<_>>();
    let order = order(store, build, &packages).await;
    keep_build(store, &order).await;
    release(&order, &NamedSeal, store, store, NOW)
        .await
        .unwrap();
}

async fn taken_out(store: &MemoryStore, what: &str) -> Result<usize, String> {
    let removed = remove(&platform().name, what, &NamedSeal, store, store, NOW).await;
    removed
        .map(|removed| removed.packages.len())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_package_goes_with_all_of_its_files_and_comes_back_by_a_rollback() {
    let store = MemoryStore::new();
    release_all(&store, "build", Variant::First).await;
    let before = released(&store).await;
    assert_eq!(taken_out(&store, "tally").await, Ok(5));
    let after = released(&store).await;
    assert_eq!(after.number, before.number + 1);
    assert_eq!(
        listing(&after),
        "aarch64/debug: \naarch64/os: \nsource: \nx86_64/debug: \nx86_64/os: \n"
    );
    let served = metadata::served(&store, "x86_64/os").await;
    assert!(
        served["primary.xml"].contains("packages=\"0\""),
        "{served:?}"
    );

    let again = taken_out(&store, "tally").await.unwrap_err();
    assert!(again.contains("has nothing of `tally`"), "{again}");
    let back = rollback(&platform().name, before.number, &NamedSeal, &store, NOW).await;
    assert!(matches!(back.unwrap(), RollbackOutcome::Restored(_)));
    assert_eq!(listing(&released(&store).await), ALL);
}

#[tokio::test]
async fn one_version_goes_and_the_others_stay() {
    let store = MemoryStore::new();
    release_all(&store, "build", Variant::First).await;
    let error = remove(&platform().name, "tally-9", &NamedSeal, &store, &store, NOW).await;
    assert!(matches!(error, Err(ReleaseError::NotReleased { .. })));
    assert_eq!(taken_out(&store, "tally-1.0~rc1-1.el9").await, Ok(5));
    let subpackage = taken_out(&store, "tally-doc").await;
    assert!(
        subpackage.is_err(),
        "a subpackage is no package of the line"
    );
}
