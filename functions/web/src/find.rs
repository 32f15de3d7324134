//! Finds what is to be shown: records by id, and lists page by page, the newest first.

use crate::problem::Problem;
use futures_util::future::try_join_all;
use millrace_core::build::Build;
use millrace_core::platform::Platform;
use millrace_core::push::{Commit, Package};
use millrace_core::{BuildId, PackageName, PlatformName, PushId, Timestamp};
use millrace_store::builds::{load_build, load_push};
use millrace_store::holds::holds_of_build;
use millrace_store::index::{
    BUILDS, PUSHES, commit_index, commit_pushes_index, package_index, package_platform_index,
    package_pushes_index,
};
use millrace_store::queue::{machines as machines_of, outlook};
use millrace_store::records::{get, parse};
use millrace_store::{IndexHit, Record, StateError, StateStore, Table};
use millrace_view::{BuildView, MachineView, PackageView, PlatformView, PushView, WaitingView};
use serde::de::DeserializeOwned;
use std::str::FromStr;

/// Entries of a page where nobody asked for another number: a screen or two, read from the store at once.
pub(crate) const PAGE: usize = 50;

/// Most entries of a page of the API: a build comes to some 5 kB of JSON.
pub(crate) const PAGE_MAX: usize = 200;

/// A part of a list, and where the next part begins.
pub(crate) struct Part<T> {
    pub(crate) entries: Vec<T>,
    pub(crate) next: Option<String>,
}

/// Something that stands in a list of what happened.
pub(crate) enum Happened {
    Build(BuildView),
    /// One that no build came of, or not yet.
    Push(PushView),
}

/// Which builds and pushes.
#[derive(Clone, Default)]
pub(crate) struct Of {
    pub(crate) package: Option<PackageName>,
    pub(crate) commit: Option<Commit>,
}

impl Of {
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

/// A text of a visitor's as an id; one that keeps no law of ids is an id of nothing.
pub(crate) fn id<T: FromStr>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| missing(what, text))
}

fn missing(what: &str, id: &str) -> Problem {
    // Cut, because it is a visitor's text and the sentence shall stay readable.
    Problem::Missing(format!(
        "There is no {what} “{}”.",
        id.chars().take(100).collect::<String>()
    ))
}

pub(crate) async fn record(state: &impl StateStore, id: &BuildId) -> Result<Build, Problem> {
    Ok(load_build(state, id)
        .await?
        .ok_or_else(|| missing("build", id.as_str()))?
        .0)
}

/// All that is shown of one build.
pub(crate) async fn view(
    state: &impl StateStore,
    build: &Build,
    now: Timestamp,
) -> Result<BuildView, Problem> {
    Ok(BuildView::of(build, now).with_holds(&holds_of_build(state, build).await?, now))
}

pub(crate) async fn push(state: &impl StateStore, id: &PushId) -> Result<PushView, Problem> {
    let (record, _) = load_push(state, id)
        .await?
        .ok_or_else(|| missing("push", id.as_str()))?;
    Ok(PushView::of(&record))
}

pub(crate) async fn platform(
    state: &impl StateStore,
    name: &PlatformName,
) -> Result<PlatformView, Problem> {
    let found: Option<(Platform, _)> = get(state, Table::Platform, name.as_str()).await?;
    Ok(PlatformView::of(
        &found.ok_or_else(|| missing("platform", name.as_str()))?.0,
    ))
}

pub(crate) async fn platforms(state: &impl StateStore) -> Result<Vec<PlatformView>, Problem> {
    Ok(every_platform(state)
        .await?
        .iter()
        .map(PlatformView::of)
        .collect())
}

async fn every_platform(state: &impl StateStore) -> Result<Vec<Platform>, StateError> {
    let (mut platforms, mut after) = (Vec::new(), None);
    loop {
        let records = state
            .list(Table::Platform, after.as_deref(), PAGE_MAX)
            .await?;
        platforms.extend(readable(&records)?);
        match records.last() {
            Some(last) if records.len() == PAGE_MAX => after = Some(last.key.id.clone()),
            _ => return Ok(platforms),
        }
    }
}

/// The records of a list that can be read.
fn readable<T: DeserializeOwned>(records: &[Record]) -> Result<Vec<T>, StateError> {
    let found: Result<Vec<Option<T>>, StateError> = records
        .iter()
        .map(|record| passable(parse(record).map(Some)))
        .collect();
    Ok(found?.into_iter().flatten().collect())
}

/// A record that cannot be read takes its own place in a list from it and nothing else; whoever runs the line is told.
fn passable<T>(found: Result<Option<T>, StateError>) -> Result<Option<T>, StateError> {
    match found {
        Err(error @ StateError::Corrupt(_)) => {
            eprintln!("millrace-web: {error}; it is left out");
            Ok(None)
        }
        other => other,
    }
}

pub(crate) async fn package(
    state: &impl StateStore,
    name: &PackageName,
    now: Timestamp,
) -> Result<PackageView, Problem> {
    let found: Option<(Package, _)> = get(state, Table::Package, name.as_str()).await?;
    let (package, _) = found.ok_or_else(|| missing("package", name.as_str()))?;
    with_latest(state, &package, &every_platform(state).await?, now).await
}

pub(crate) async fn packages(
    state: &impl StateStore,
    after: Option<&str>,
    now: Timestamp,
) -> Result<Part<PackageView>, Problem> {
    let after: Option<PackageName> = after.map(|after| id("package", after)).transpose()?;
    let mut records = state
        .list(
            Table::Package,
            after.as_ref().map(PackageName::as_str),
            PAGE + 1,
        )
        .await?;
    let more = records.len() > PAGE;
    records.truncate(PAGE);
    let next = records
        .last()
        .filter(|_| more)
        .map(|last| last.key.id.clone());
    let (packages, platforms) = (readable::<Package>(&records)?, every_platform(state).await?);
    let entries = try_join_all(
        packages
            .iter()
            .map(|package| with_latest(state, package, &platforms, now)),
    )
    .await?;
    Ok(Part { entries, next })
}

async fn with_latest(
    state: &impl StateStore,
    package: &Package,
    platforms: &[Platform],
    now: Timestamp,
) -> Result<PackageView, Problem> {
    let latest_on = |platform: &Platform| {
        let index = package_platform_index(&package.name, &platform.name);
        async move { state.index_entries(&index, None, 1).await }
    };
    let index_entries: Vec<IndexHit> = try_join_all(platforms.iter().map(latest_on))
        .await?
        .into_iter()
        .flatten()
        .collect();
    Ok(PackageView::of(
        package,
        views(state, &index_entries, now).await?,
    ))
}

/// Builds that index entries stand for. An index entry may be a moment older than its record, so one whose record is gone is passed over.
async fn views(
    state: &impl StateStore,
    index_entries: &[IndexHit],
    now: Timestamp,
) -> Result<Vec<BuildView>, Problem> {
    let found = try_join_all(index_entries.iter().map(|hit| build_at(state, hit, now))).await?;
    Ok(found.into_iter().flatten().collect())
}

async fn build_at(
    state: &impl StateStore,
    hit: &IndexHit,
    now: Timestamp,
) -> Result<Option<BuildView>, Problem> {
    let Ok(id) = hit.key.id.parse() else {
        return Ok(None);
    };
    Ok(passable(load_build(state, &id).await)?.map(|(build, _)| BuildView::of(&build, now)))
}

async fn push_at(state: &impl StateStore, hit: &IndexHit) -> Result<Option<PushView>, Problem> {
    let Ok(id) = hit.key.id.parse() else {
        return Ok(None);
    };
    Ok(passable(load_push(state, &id).await)?.map(|(record, _)| PushView::of(&record)))
}

/// The builds of a push, in its order.
pub(crate) async fn builds_of(
    state: &impl StateStore,
    push: &PushView,
    now: Timestamp,
) -> Result<Vec<BuildView>, Problem> {
    let found = try_join_all(
        push.builds
            .iter()
            .map(|id| async { passable(load_build(state, id).await) }),
    )
    .await?;
    Ok(found
        .into_iter()
        .flatten()
        .map(|(build, _)| BuildView::of(&build, now))
        .collect())
}

pub(crate) async fn builds(
    state: &impl StateStore,
    of: &Of,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Part<BuildView>, Problem> {
    let Part { entries, next } =
        index_entries(state, &of.builds_index(), place(after)?, limit).await?;
    let builds = views(state, &entries, now).await?;
    Ok(Part {
        entries: builds
            .into_iter()
            .filter(|build| of.has(&build.package))
            .collect(),
        next,
    })
}

pub(crate) async fn pushes(
    state: &impl StateStore,
    of: &Of,
    after: Option<&str>,
    limit: usize,
) -> Result<Part<PushView>, Problem> {
    let Part { entries, next } =
        index_entries(state, &of.pushes_index(), place(after)?, limit).await?;
    let pushes = try_join_all(entries.iter().map(|hit| push_at(state, hit))).await?;
    Ok(Part {
        entries: pushes
            .into_iter()
            .flatten()
            .filter(|push| of.has(&push.package))
            .collect(),
        next,
    })
}

/// Builds, and between them the pushes that no build came of, by time. Both indexes have places of the same form, so they
/// are merged by place, and one place says where the next part begins in both.
pub(crate) async fn happened(
    state: &impl StateStore,
    of: &Of,
    after: Option<&str>,
    now: Timestamp,
) -> Result<Part<Happened>, Problem> {
    // A page of index entries of each kind holds, merged, a page that is whole.
    let after = place(after)?;
    let builds = state
        .index_entries(&of.builds_index(), after, PAGE + 1)
        .await?;
    let pushes = state
        .index_entries(&of.pushes_index(), after, PAGE + 1)
        .await?;
    let mut index_entries: Vec<IndexHit> = builds.into_iter().chain(pushes).collect();
    index_entries.sort_by(|one, other| one.sort.cmp(&other.sort));
    let part = cut(index_entries, PAGE);
    let entries = try_join_all(part.entries.iter().map(|hit| entry(state, hit, now))).await?;
    Ok(Part {
        entries: entries.into_iter().flatten().collect(),
        next: part.next,
    })
}

async fn entry(
    state: &impl StateStore,
    hit: &IndexHit,
    now: Timestamp,
) -> Result<Option<Happened>, Problem> {
    if hit.key.table == Table::Build {
        return Ok(build_at(state, hit, now).await?.map(Happened::Build));
    }
    // A push that was planned is there as its builds.
    Ok(push_at(state, hit)
        .await?
        .filter(|push| push.builds.is_empty())
        .map(Happened::Push))
}

async fn index_entries(
    state: &impl StateStore,
    index: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Part<IndexHit>, Problem> {
    let limit = limit.clamp(1, PAGE_MAX);
    Ok(cut(
        state.index_entries(index, after, limit + 1).await?,
        limit,
    ))
}

/// The first `limit` index entries; where there are more, the last of them says where the next part begins.
fn cut(mut index_entries: Vec<IndexHit>, limit: usize) -> Part<IndexHit> {
    let more = index_entries.len() > limit;
    index_entries.truncate(limit);
    let next = index_entries
        .last()
        .filter(|_| more)
        .map(|hit| hit.sort.clone());
    Part {
        entries: index_entries,
        next,
    }
}

/// A place in a list as `next` gave it out: twenty digits, a slash and an id.
fn place(after: Option<&str>) -> Result<Option<&str>, Problem> {
    let good = |text: &str| {
        let (digits, id) = text.split_once('/')?;
        let digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        (digits && BuildId::new(id).is_ok()).then_some(())
    };
    match after {
        Some(text) if good(text).is_none() => Err(Problem::Bad(
            "`after` is no place in this list: take it from `next`.".to_owned(),
        )),
        after => Ok(after),
    }
}

/// Tasks that could be done, in the order in which they will be taken: as many as a page takes.
pub(crate) async fn waiting(
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Vec<WaitingView>, Problem> {
    Ok(outlook(state, PAGE, now)
        .await?
        .into_iter()
        .map(WaitingView::of)
        .collect())
}

/// Machines that asked for work in the last days: those that work first, then those that wait.
pub(crate) async fn machines(
    state: &impl StateStore,
    now: Timestamp,
) -> Result<Vec<MachineView>, Problem> {
    let mut machines = machines_of(state, now).await?;
    machines.sort_by_key(|machine| (machine.at.is_none(), !machine.is_there));
    Ok(machines.into_iter().map(MachineView::of).collect())
}
