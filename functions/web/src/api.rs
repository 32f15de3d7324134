//! The JSON API: lists as `{"builds": […], "next": …}`, where `next` is what `after` takes; problems as `{"error": "…"}`.

use crate::Web;
use crate::find::{self, Of, PAGE, Part, id};
use crate::problem::{AsJson, Problem};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use millrace_core::push::Commit;
use millrace_core::roots::Lock;
use millrace_store::roots::lock_of;
use millrace_store::{BlobStore, StateStore};
use millrace_view::{BuildView, MachineView, PackageView, PlatformView, PushView, WaitingView};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) fn router<S: StateStore, B: BlobStore>() -> Router<Web<S, B>> {
    Router::new()
        .route("/builds", get(builds::<S, B>))
        .route("/builds/{id}", get(build::<S, B>))
        .route("/builds/{id}/lock", get(lock::<S, B>))
        .route("/pushes", get(pushes::<S, B>))
        .route("/pushes/{id}", get(push::<S, B>))
        .route("/packages", get(packages::<S, B>))
        .route("/packages/{name}", get(package::<S, B>))
        .route("/platforms", get(platforms::<S, B>))
        .route("/platforms/{name}", get(platform::<S, B>))
        .route("/queue", get(queue::<S, B>))
}

/// What a request asks for. A word that nobody knows is refused: the answer would be another one than was meant.
struct Only<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Only<T> {
    type Rejection = AsJson;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AsJson> {
        let bad = |error: QueryRejection| Problem::Bad(error.body_text());
        Ok(Query::try_from_uri(&parts.uri)
            .map(|Query(asked)| Self(asked))
            .map_err(bad)?)
    }
}

/// Where nothing more can be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Which part of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<String>,
}

/// Which part of which list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    after: Option<String>,
    limit: Option<String>,
    package: Option<String>,
    commit: Option<String>,
}

impl Asked {
    fn of(&self) -> Result<Of, Problem> {
        let bad = |error: millrace_core::NameError| Problem::Bad(error.to_string());
        let package = self
            .package
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(bad)?;
        let commit = self
            .commit
            .as_deref()
            .map(Commit::new)
            .transpose()
            .map_err(bad)?;
        Ok(Of { package, commit })
    }

    fn limit(&self) -> Result<usize, Problem> {
        let bad = |_| Problem::Bad("`limit` is no number.".to_owned());
        self.limit
            .as_deref()
            .map_or(Ok(PAGE), |limit| limit.parse().map_err(bad))
    }
}

#[derive(Serialize)]
struct Builds {
    builds: Vec<BuildView>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Pushes {
    pushes: Vec<PushView>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Packages {
    packages: Vec<PackageView>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Platforms {
    platforms: Vec<PlatformView>,
}

#[derive(Serialize)]
struct Queue {
    waiting: Vec<WaitingView>,
    runners: Vec<MachineView>,
}

async fn builds<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Only(asked): Only<Asked>,
) -> Result<Json<Builds>, AsJson> {
    let part = find::builds(
        &web.state,
        &asked.of()?,
        asked.after.as_deref(),
        asked.limit()?,
        web.now(),
    )
    .await?;
    let Part {
        entries: builds,
        next,
    } = part;
    Ok(Json(Builds { builds, next }))
}

async fn build<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(text): Path<String>,
    Only(Nothing {}): Only<Nothing>,
) -> Result<Json<BuildView>, AsJson> {
    let build = find::record(&web.state, &id("build", &text)?).await?;
    Ok(Json(find::view(&web.state, &build, web.now()).await?))
}

/// What was in the roots of a build, as `millrace build --lock` takes it.
async fn lock<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(text): Path<String>,
    Only(Nothing {}): Only<Nothing>,
) -> Result<Json<Lock>, AsJson> {
    let build = find::record(&web.state, &id("build", &text)?).await?;
    let lock = lock_of(&web.blobs, &build).await.map_err(Problem::from)?;
    let unknown = || {
        Problem::Missing(format!(
            "Nothing is known of the roots of build {}.",
            build.id
        ))
    };
    Ok(Json(lock.ok_or_else(unknown)?))
}

async fn pushes<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Only(asked): Only<Asked>,
) -> Result<Json<Pushes>, AsJson> {
    let Part {
        entries: pushes,
        next,
    } = find::pushes(
        &web.state,
        &asked.of()?,
        asked.after.as_deref(),
        asked.limit()?,
    )
    .await?;
    Ok(Json(Pushes { pushes, next }))
}

async fn push<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(text): Path<String>,
    Only(Nothing {}): Only<Nothing>,
) -> Result<Json<PushView>, AsJson> {
    Ok(Json(find::push(&web.state, &id("push", &text)?).await?))
}

async fn packages<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Only(asked): Only<After>,
) -> Result<Json<Packages>, AsJson> {
    let Part {
        entries: packages,
        next,
    } = find::packages(&web.state, asked.after.as_deref(), web.now()).await?;
    Ok(Json(Packages { packages, next }))
}

async fn package<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(text): Path<String>,
    Only(Nothing {}): Only<Nothing>,
) -> Result<Json<PackageView>, AsJson> {
    Ok(Json(
        find::package(&web.state, &id("package", &text)?, web.now()).await?,
    ))
}

async fn platforms<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Only(Nothing {}): Only<Nothing>,
) -> Result<Json<Platforms>, AsJson> {
    Ok(Json(Platforms {
        platforms: find::platforms(&web.state).await?,
    }))
}

async fn platform<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(text): Path<String>,
    Only(Nothing {}): Only<Nothing>,
) -> Result<Json<PlatformView>, AsJson> {
    Ok(Json(
        find::platform(&web.state, &id("platform", &text)?).await?,
    ))
}

async fn queue<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Only(Nothing {}): Only<Nothing>,
) -> Result<Json<Queue>, AsJson> {
    let now = web.now();
    let (waiting, runners) = (
        find::waiting(&web.state, now).await?,
        find::machines(&web.state, now).await?,
    );
    Ok(Json(Queue { waiting, runners }))
}
