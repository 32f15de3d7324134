//! Finds packages, each with its latest build on each platform.

use super::builds::views;
use super::list::{LIST_ENTRIES, ListPart, readable};
use super::parse_id;
use super::platforms::every_platform;
use crate::error::ViewError;
use crate::push::PackageView;
use futures_util::future::try_join_all;
use millrace_core::platform::Platform;
use millrace_core::push::Package;
use millrace_core::{PackageName, Timestamp};
use millrace_store::index::package_platform_index;
use millrace_store::records::get;
use millrace_store::{IndexHit, StateStore, Table};

/// One package.
pub async fn package(
    state: &impl StateStore,
    name: &PackageName,
    now: Timestamp,
) -> Result<PackageView, ViewError> {
    let found: Option<(Package, _)> = get(state, Table::Package, name.as_str()).await?;
    let (package, _) = found.ok_or_else(|| ViewError::no_record("package", name.as_str()))?;
    with_latest(state, &package, &every_platform(state).await?, now).await
}

/// Packages by name.
pub async fn packages(
    state: &impl StateStore,
    after: Option<&str>,
    now: Timestamp,
) -> Result<ListPart<PackageView>, ViewError> {
    let after: Option<PackageName> = after.map(|after| parse_id("package", after)).transpose()?;
    let mut records = state
        .list(
            Table::Package,
            after.as_ref().map(PackageName::as_str),
            LIST_ENTRIES + 1,
        )
        .await?;
    let more = records.len() > LIST_ENTRIES;
    records.truncate(LIST_ENTRIES);
    let next = records
        .last()
        .filter(|_| more)
        .map(|last| last.key.id.clone());
    let packages = readable::<Package>(&records)?;
    let platforms = every_platform(state).await?;
    let entries = try_join_all(
        packages
            .iter()
            .map(|package| with_latest(state, package, &platforms, now)),
    )
    .await?;
    Ok(ListPart { entries, next })
}

async fn with_latest(
    state: &impl StateStore,
    package: &Package,
    platforms: &[Platform],
    now: Timestamp,
) -> Result<PackageView, ViewError> {
    let latest_on = |platform: &Platform| {
        let index = package_platform_index(&package.name, &platform.name);
        async move { state.index_entries(&index, None, 1).await }
    };
    let hits: Vec<IndexHit> = try_join_all(platforms.iter().map(latest_on))
        .await?
        .into_iter()
        .flatten()
        .collect();
    Ok(PackageView::of(package, views(state, &hits, now).await?))
}
