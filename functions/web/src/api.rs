//! The JSON API: what [`millrace_view`] shows; problems as `{"error": "…"}`.

use crate::Web;
use crate::problem::{JsonProblem, Problem};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::routing::get;
use axum::{Json, Router};
use millrace_core::push::Commit;
use millrace_core::roots::Lock;
use millrace_store::{BlobStore, StateStore};
use millrace_view::find::{self, BuildFilter, LIST_ENTRIES, parse_id};
use millrace_view::{
    BuildList, BuildView, PackageList, PackageView, PlatformList, PlatformView, PushList, PushView,
    QueueView,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

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

/// What a request asks for. An unknown word is refused: without it the answer would not be what was meant.
struct StrictQuery<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for StrictQuery<T> {
    type Rejection = JsonProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, JsonProblem> {
        let bad = |error: QueryRejection| Problem::Bad(error.body_text());
        let Query(query) = Query::try_from_uri(&parts.uri).map_err(bad)?;
        Ok(Self(query))
    }
}

/// Nothing more can be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// Which part of the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    after: Option<String>,
}

/// Which builds or pushes, and which part of their list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildQuery {
    after: Option<String>,
    limit: Option<String>,
    package: Option<String>,
    commit: Option<String>,
}

impl BuildQuery {
    fn filter(&self) -> Result<BuildFilter, Problem> {
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
        Ok(BuildFilter { package, commit })
    }

    fn limit(&self) -> Result<usize, Problem> {
        let bad = |_| Problem::Bad("`limit` is no number.".to_owned());
        self.limit
            .as_deref()
            .map_or(Ok(LIST_ENTRIES), |limit| limit.parse().map_err(bad))
    }
}

async fn builds<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    StrictQuery(query): StrictQuery<BuildQuery>,
) -> Result<Json<BuildList>, JsonProblem> {
    let filter = query.filter()?;
    let limit = query.limit()?;
    let after = query.after.as_deref();
    let part = find::builds(&web.state, &filter, after, limit, web.now()).await?;
    Ok(Json(part.into()))
}

async fn build<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(id): Path<String>,
    _: StrictQuery<NoQuery>,
) -> Result<Json<BuildView>, JsonProblem> {
    let build = find::build_record(&web.state, &parse_id("build", &id)?).await?;
    Ok(Json(find::build(&web.state, &build, web.now()).await?))
}

/// What was in the roots of a build, as `millrace build --lock` takes it.
async fn lock<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(id): Path<String>,
    _: StrictQuery<NoQuery>,
) -> Result<Json<Lock>, JsonProblem> {
    let build = find::build_record(&web.state, &parse_id("build", &id)?).await?;
    Ok(Json(find::lock(&web.blobs, &build).await?))
}

async fn pushes<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    StrictQuery(query): StrictQuery<BuildQuery>,
) -> Result<Json<PushList>, JsonProblem> {
    let filter = query.filter()?;
    let limit = query.limit()?;
    let part = find::pushes(&web.state, &filter, query.after.as_deref(), limit).await?;
    Ok(Json(part.into()))
}

async fn push<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(id): Path<String>,
    _: StrictQuery<NoQuery>,
) -> Result<Json<PushView>, JsonProblem> {
    let id = parse_id("push", &id)?;
    Ok(Json(find::push(&web.state, &id).await?))
}

async fn packages<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    StrictQuery(query): StrictQuery<ListQuery>,
) -> Result<Json<PackageList>, JsonProblem> {
    let part = find::packages(&web.state, query.after.as_deref(), web.now()).await?;
    Ok(Json(part.into()))
}

async fn package<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(name): Path<String>,
    _: StrictQuery<NoQuery>,
) -> Result<Json<PackageView>, JsonProblem> {
    let name = parse_id("package", &name)?;
    Ok(Json(find::package(&web.state, &name, web.now()).await?))
}

async fn platforms<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    _: StrictQuery<NoQuery>,
) -> Result<Json<PlatformList>, JsonProblem> {
    let platforms = find::platforms(&web.state).await?;
    Ok(Json(PlatformList { platforms }))
}

async fn platform<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path(name): Path<String>,
    _: StrictQuery<NoQuery>,
) -> Result<Json<PlatformView>, JsonProblem> {
    let name = parse_id("platform", &name)?;
    Ok(Json(find::platform(&web.state, &name).await?))
}

async fn queue<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    _: StrictQuery<NoQuery>,
) -> Result<Json<QueueView>, JsonProblem> {
    let now = web.now();
    let waiting = find::waiting(&web.state, now).await?;
    let runners = find::runners(&web.state, now).await?;
    Ok(Json(QueueView { waiting, runners }))
}
