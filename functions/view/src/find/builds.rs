//! Finds builds and pushes.

use super::list::{LIST_ENTRIES, ListPart, cut, part_of_index, position, skip_corrupt};
use crate::build::BuildView;
use crate::error::ViewError;
use crate::push::PushView;
use futures_util::future::try_join_all;
use millrace_core::build::Build;
use millrace_core::push::Commit;
use millrace_core::roots::Lock;
use millrace_core::{BuildId, PackageName, PushId, Timestamp};
use millrace_store::builds::{load_build, load_push};
use millrace_store::holds::holds_of_build;
use millrace_store::index::{
    BUILDS, PUSHES, commit_index, commit_pushes_index, package_index, package_pushes_index,
};
use millrace_store::roots::lock_of;
use millrace_store::{BlobStore, IndexHit, StateStore, Table};

/// What stands in a list of what happened.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly every entry is a build, so that a box would cost more than it saves"
)]
pub enum HistoryEntry {
    Build(BuildView),
    /// A push of which no build came, or not yet.
    Push(PushView),
}

impl HistoryEntry {
    /// Whether nothing more happens.
    pub const fn is_ended(&self) -> bool {
        match self {
            Self::Build(build) => build.is_ended(),
            Self::Push(push) => push.reason.is_some(),
        }
    }
}

/// Which builds and pushes.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// Only of this package.
    pub package: Option<PackageName>,
    /// Only of this commit.
    pub commit: Option<Commit>,
}

impl BuildFilter {
    /// The narrowest index there is; what else was asked for is sieved out of it.
    fn builds_index(&self) -> String {
        match (&self.commit, &self.package) {
            (Some(commit), _) => commit_index(commit),
            (None, Some(package)) => package_index(package),
            (None, None) => BUILDS.to_owned(),
        }
    }

    fn pushes_index(&self) -> String {
        match (&self.commit, &self.package) {
            (Some(commit), _) => commit_pushes_index(commit),
            (None, Some(package)) => package_pushes_index(package),
            (None, None) => PUSHES.to_owned(),
        }
    }

    fn has(&self, package: &PackageName) -> bool {
        self.package.as_ref().is_none_or(|wanted| wanted == package)
    }
}

/// A build's record.
pub async fn build_record(state: &impl StateStore, id: &BuildId) -> Result<Build, ViewError> {
    let found = load_build(state, id).await?;
    let (build, _) = found.ok_or_else(|| ViewError::no_record("build", id.as_str()))?;
    Ok(build)
}

/// All that is shown of one build.
pub async fn build(
    state: &impl StateStore,
    build: &Build,
    now: Timestamp,
) -> Result<BuildView, ViewError> {
    let holds = holds_of_build(state, build).await?;
    Ok(BuildView::of(build, now).with_holds(&holds, now))
}

/// What was in the roots of a build, as `millrace build --lock` takes it.
pub async fn lock(blobs: &impl BlobStore, build: &Build) -> Result<Lock, ViewError> {
    let lock = lock_of(blobs, build).await?;
    lock.ok_or_else(|| ViewError::NoRoots(build.id.clone()))
}

/// One push.
pub async fn push(state: &impl StateStore, id: &PushId) -> Result<PushView, ViewError> {
    let found = load_push(state, id).await?;
    let (record, _) = found.ok_or_else(|| ViewError::no_record("push", id.as_str()))?;
    Ok(PushView::of(&record))
}

/// The builds of a push, in its order.
pub async fn builds_of_push(
    state: &impl StateStore,
    push: &PushView,
    now: Timestamp,
) -> Result<Vec<BuildView>, ViewError> {
    let loads = push
        .builds
        .iter()
        .map(|id| async { skip_corrupt(load_build(state, id).await) });
    let found = try_join_all(loads).await?;
    Ok(found
        .into_iter()
        .flatten()
        .map(|(build, _)| BuildView::of(&build, now))
        .collect())
}

/// Builds by time.
pub async fn builds(
    state: &impl StateStore,
    filter: &BuildFilter,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<ListPart<BuildView>, ViewError> {
    let part = part_of_index(state, &filter.builds_index(), after, limit).await?;
    let mut builds = views(state, &part.entries, now).await?;
    builds.retain(|build| filter.has(&build.package));
    Ok(ListPart {
        entries: builds,
        next: part.next,
    })
}

/// Pushes by time.
pub async fn pushes(
    state: &impl StateStore,
    filter: &BuildFilter,
    after: Option<&str>,
    limit: usize,
) -> Result<ListPart<PushView>, ViewError> {
    let part = part_of_index(state, &filter.pushes_index(), after, limit).await?;
    let pushes = try_join_all(part.entries.iter().map(|hit| push_at(state, hit))).await?;
    let entries = pushes
        .into_iter()
        .flatten()
        .filter(|push| filter.has(&push.package))
        .collect();
    Ok(ListPart {
        entries,
        next: part.next,
    })
}

/// Builds, and between them the pushes of which no build came, by time. Both indexes have positions of the same form, so they
/// are merged by position, and one position says where the next part begins in both.
pub async fn history(
    state: &impl StateStore,
    filter: &BuildFilter,
    after: Option<&str>,
    now: Timestamp,
) -> Result<ListPart<HistoryEntry>, ViewError> {
    // A part of each index holds, merged, a part that is whole.
    let after = position(after)?;
    let limit = LIST_ENTRIES + 1;
    let mut hits = state
        .index_entries(&filter.builds_index(), after, limit)
        .await?;
    hits.extend(
        state
            .index_entries(&filter.pushes_index(), after, limit)
            .await?,
    );
    hits.sort_by(|one, other| one.sort.cmp(&other.sort));
    let part = cut(hits, LIST_ENTRIES);
    let entries = try_join_all(part.entries.iter().map(|hit| entry(state, hit, now))).await?;
    Ok(ListPart {
        entries: entries.into_iter().flatten().collect(),
        next: part.next,
    })
}

async fn entry(
    state: &impl StateStore,
    hit: &IndexHit,
    now: Timestamp,
) -> Result<Option<HistoryEntry>, ViewError> {
    if hit.key.table == Table::Build {
        return Ok(build_at(state, hit, now).await?.map(HistoryEntry::Build));
    }
    // A push that was planned is there as its builds.
    Ok(push_at(state, hit)
        .await?
        .filter(|push| push.builds.is_empty())
        .map(HistoryEntry::Push))
}

/// Builds that index entries stand for. An entry may be a moment older than its record, so one whose record is gone is passed over.
pub(super) async fn views(
    state: &impl StateStore,
    hits: &[IndexHit],
    now: Timestamp,
) -> Result<Vec<BuildView>, ViewError> {
    let found = try_join_all(hits.iter().map(|hit| build_at(state, hit, now))).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn build_at(
    state: &impl StateStore,
    hit: &IndexHit,
    now: Timestamp,
) -> Result<Option<BuildView>, ViewError> {
    let Ok(id) = hit.key.id.parse() else {
        return Ok(None);
    };
    let found = skip_corrupt(load_build(state, &id).await)?;
    Ok(found.map(|(build, _)| BuildView::of(&build, now)))
}

async fn push_at(state: &impl StateStore, hit: &IndexHit) -> Result<Option<PushView>, ViewError> {
    let Ok(id) = hit.key.id.parse() else {
        return Ok(None);
    };
    let found = skip_corrupt(load_push(state, &id).await)?;
    Ok(found.map(|(record, _)| PushView::of(&record)))
}
