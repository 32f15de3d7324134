//! The pages: what was asked for is found, then drawn.

mod build;
mod builds;
mod log;
mod packages;
mod pipeline;
mod platforms;
mod queue;
mod roots;

use crate::Web;
use crate::layout::{Page, page};
use crate::logs::LogQuery;
use crate::problem::Problem;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Html;
use millrace_core::address;
use millrace_store::{BlobStore, StateStore};
use millrace_view::find::{self, BuildFilter, HistoryEntry, parse_id};
use millrace_view::{AttemptLog, BuildView};
use serde::Deserialize;

type PageResult = Result<Html<String>, Problem>;

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    after: Option<String>,
}

/// Whether the newest part of a list is shown and something in it changes by itself.
fn is_changing(query: &ListQuery, list: &[HistoryEntry]) -> bool {
    query.after.is_none() && !list.iter().all(HistoryEntry::is_ended)
}

pub(crate) async fn builds<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Query(query): Query<ListQuery>,
) -> PageResult {
    let now = web.now();
    let filter = BuildFilter::default();
    let part = find::history(&web.state, &filter, query.after.as_deref(), now).await?;
    let frame = Page {
        title: "Builds",
        here: "/",
        refresh: is_changing(&query, &part.entries),
    };
    Ok(page(frame, &builds::all(&part, query.after.is_none(), now)))
}

pub(crate) async fn build<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    headers: HeaderMap,
    Path(text): Path<String>,
) -> PageResult {
    let now = web.now();
    let build = find::build_record(&web.state, &parse_id("build", &text)?).await?;
    let view = find::build(&web.state, &build, now).await?;
    let title = format!(
        "{} {} on {}: {}",
        view.package,
        view.commit.short(),
        view.platform,
        view.state
    );
    let frame = Page {
        title: &title,
        here: "",
        refresh: !view.is_ended(),
    };
    let line = web.url.clone().unwrap_or_else(|| base_url(&headers));
    Ok(page(frame, &build::whole(&view, &line, now)))
}

pub(crate) async fn log<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path((build, task)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> PageResult {
    let log = AttemptLog::find(&web.state, &build, &task, query.attempt.as_deref()).await?;
    let end = log::end(&web.blobs, &log.index).await?;
    let title = format!(
        "Log of {} of {} {}",
        log.task.id,
        log.build.push.announced.package,
        log.build.push.announced.commit.short()
    );
    let view = find::build(&web.state, &log.build, web.now()).await?;
    Ok(page(
        Page {
            title: &title,
            here: "",
            refresh: log.is_growing(),
        },
        &log::whole(&view, &log, &end),
    ))
}

/// What was in the roots of an attempt.
pub(crate) async fn roots<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path((build, task)): Path<(String, String)>,
    Query(query): Query<LogQuery>,
) -> PageResult {
    let log = AttemptLog::find(&web.state, &build, &task, query.attempt.as_deref()).await?;
    let attempt = log
        .task
        .attempts
        .iter()
        .find(|attempt| attempt.number.0 == log.attempt);
    let unknown = || {
        Problem::Missing(format!(
            "Nothing is known of the roots of attempt {} at {}.",
            log.attempt, log.task.id
        ))
    };
    let digest = attempt
        .and_then(|attempt| attempt.roots)
        .ok_or_else(unknown)?;
    let found = millrace_store::roots::roots(&web.blobs, &digest).await?;
    let title = format!(
        "Roots of {} of {}",
        log.task.id, log.build.push.announced.package
    );
    let view = BuildView::of(&log.build, web.now());
    Ok(page(
        Page {
            title: &title,
            here: "",
            refresh: false,
        },
        &roots::whole(&view, log.attempt, &found),
    ))
}

pub(crate) async fn packages<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Query(query): Query<ListQuery>,
) -> PageResult {
    let part = find::packages(&web.state, query.after.as_deref(), web.now()).await?;
    let refresh = part
        .entries
        .iter()
        .any(|package| !package.latest.iter().all(BuildView::is_ended));
    Ok(page(
        Page {
            title: "Packages",
            here: "/packages",
            refresh,
        },
        &packages::all(&part, web.now()),
    ))
}

pub(crate) async fn package<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> PageResult {
    let now = web.now();
    let view = find::package(&web.state, &parse_id("package", &name)?, now).await?;
    let filter = BuildFilter {
        package: Some(view.name.clone()),
        commit: None,
    };
    let history = find::history(&web.state, &filter, query.after.as_deref(), now).await?;
    let frame = Page {
        title: view.name.as_str(),
        here: "",
        refresh: is_changing(&query, &history.entries),
    };
    Ok(page(frame, &packages::one(&view, &history, now)))
}

pub(crate) async fn queue<S: StateStore, B: BlobStore>(State(web): State<Web<S, B>>) -> PageResult {
    let now = web.now();
    let waiting = find::waiting(&web.state, now).await?;
    let runners = find::runners(&web.state, now).await?;
    Ok(page(
        Page {
            title: "Queue",
            here: "/queue",
            refresh: !waiting.is_empty(),
        },
        &queue::whole(&waiting, &runners, now),
    ))
}

pub(crate) async fn platforms<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
) -> PageResult {
    let all = find::platforms(&web.state).await?;
    Ok(page(
        Page {
            title: "Platforms",
            here: "/platforms",
            refresh: false,
        },
        &platforms::all(&all),
    ))
}

pub(crate) async fn platform<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(name): Path<String>,
) -> PageResult {
    let view = find::platform(&web.state, &parse_id("platform", &name)?).await?;
    Ok(page(
        Page {
            title: view.name.as_str(),
            here: "",
            refresh: false,
        },
        &platforms::one(&view),
    ))
}

pub(crate) async fn push<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(text): Path<String>,
) -> PageResult {
    let now = web.now();
    let view = find::push(&web.state, &parse_id("push", &text)?).await?;
    let of_push = find::builds_of_push(&web.state, &view, now).await?;
    let title = format!("Push of {} to {}", view.commit.short(), view.package);
    let refresh =
        matches!(view.state, "fetching" | "fetched") || !of_push.iter().all(BuildView::is_ended);
    Ok(page(
        Page {
            title: &title,
            here: "",
            refresh,
        },
        &builds::push(&view, of_push, now),
    ))
}

/// How the visitor reached us, for commands to copy.
fn base_url(headers: &HeaderMap) -> String {
    address::base_url(|name| headers.get(name)?.to_str().ok())
}
