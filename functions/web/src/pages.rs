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
use crate::find::{self, Happened, Of, id};
use crate::layout::{Page, page};
use crate::logs::{Which, find_log};
use crate::problem::Problem;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Html;
use millrace_store::{BlobStore, StateStore};
use millrace_view::BuildView;
use serde::Deserialize;

type Shown = Result<Html<String>, Problem>;

#[derive(Deserialize)]
pub(crate) struct After {
    after: Option<String>,
}

impl Happened {
    const fn is_ended(&self) -> bool {
        match self {
            Self::Build(build) => build.is_ended(),
            Self::Push(push) => push.reason.is_some(),
        }
    }
}

/// Whether the newest part of a list is shown and something in it changes by itself.
fn runs(after: &After, list: &[Happened]) -> bool {
    after.after.is_none() && !list.iter().all(Happened::is_ended)
}

pub(crate) async fn builds<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Query(after): Query<After>,
) -> Shown {
    let now = web.now();
    let part = find::happened(&web.state, &Of::default(), after.after.as_deref(), now).await?;
    let frame = Page {
        title: "Builds",
        here: "/",
        refresh: runs(&after, &part.entries),
    };
    Ok(page(frame, &builds::all(&part, after.after.is_none(), now)))
}

pub(crate) async fn build<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    headers: HeaderMap,
    Path(text): Path<String>,
) -> Shown {
    let now = web.now();
    let view = find::view(
        &web.state,
        &find::record(&web.state, &id("build", &text)?).await?,
        now,
    )
    .await?;
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
    Ok(page(frame, &build::whole(&view, &base_url(&headers), now)))
}

pub(crate) async fn log<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path((build, task)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Shown {
    let log = find_log(&web.state, &build, &task, which.attempt.as_deref()).await?;
    let end = log::end(&web.blobs, &log.index).await?;
    let title = format!(
        "Log of {} of {} {}",
        log.task.id,
        log.build.push.announced.package,
        log.build.push.announced.commit.short()
    );
    let view = find::view(&web.state, &log.build, web.now()).await?;
    Ok(page(
        Page {
            title: &title,
            here: "",
            refresh: log.runs(),
        },
        &log::whole(&view, &log, &end),
    ))
}

/// What was in the roots of an attempt.
pub(crate) async fn roots<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path((build, task)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Shown {
    let log = find_log(&web.state, &build, &task, which.attempt.as_deref()).await?;
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
    Query(after): Query<After>,
) -> Shown {
    let part = find::packages(&web.state, after.after.as_deref(), web.now()).await?;
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
    Query(after): Query<After>,
) -> Shown {
    let now = web.now();
    let view = find::package(&web.state, &id("package", &name)?, now).await?;
    let of = Of {
        package: Some(view.name.clone()),
        commit: None,
    };
    let history = find::happened(&web.state, &of, after.after.as_deref(), now).await?;
    let frame = Page {
        title: view.name.as_str(),
        here: "",
        refresh: runs(&after, &history.entries),
    };
    Ok(page(frame, &packages::one(&view, &history, now)))
}

pub(crate) async fn queue<S: StateStore, B: BlobStore>(State(web): State<Web<S, B>>) -> Shown {
    let now = web.now();
    let (waiting, machines) = (
        find::waiting(&web.state, now).await?,
        find::machines(&web.state, now).await?,
    );
    Ok(page(
        Page {
            title: "Queue",
            here: "/queue",
            refresh: !waiting.is_empty(),
        },
        &queue::whole(&waiting, &machines, now),
    ))
}

pub(crate) async fn platforms<S: StateStore, B: BlobStore>(State(web): State<Web<S, B>>) -> Shown {
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
) -> Shown {
    let view = find::platform(&web.state, &id("platform", &name)?).await?;
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
) -> Shown {
    let now = web.now();
    let view = find::push(&web.state, &id("push", &text)?).await?;
    let of_push = find::builds_of(&web.state, &view, now).await?;
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

/// How the visitor reached us, for commands to copy; whatever else a request may say there is not repeated.
fn base_url(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = |host: &&str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
    };
    let host = text("x-forwarded-host")
        .or_else(|| text("host"))
        .filter(plain)
        .unwrap_or("localhost");
    let scheme = text("x-forwarded-proto")
        .filter(|scheme| *scheme == "https")
        .unwrap_or("http");
    format!("{scheme}://{host}")
}
