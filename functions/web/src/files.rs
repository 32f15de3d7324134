//! Files that tasks handed over: only ever downloaded, never shown as a page.

use crate::Web;
use crate::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_core::task::{Task, TaskId};
use millrace_store::{BlobError, BlobStore, StateStore, as_download, pieces};
use millrace_view::find::{self, parse_id};
use serde::Deserialize;
use std::time::Duration;

/// How long the address of a file is good that somebody is sent to: the download begins at once.
const ADDRESS_VALID: Duration = Duration::from_secs(900);

#[derive(Deserialize)]
pub(crate) struct FileQuery {
    /// The task that handed the file over, if several have one of its name.
    task: Option<String>,
}

pub(crate) async fn artifact<S: StateStore, B: BlobStore>(
    State(web): State<Web<S, B>>,
    Path((build, name)): Path<(String, String)>,
    Query(query): Query<FileQuery>,
) -> Result<Response, Problem> {
    let build = find::build_record(&web.state, &parse_id("build", &build)?).await?;
    let task: Option<TaskId> = query.task.map(|task| parse_id("task", &task)).transpose()?;
    let of_task = |candidate: &&Task| task.as_ref().is_none_or(|task| candidate.id == *task);
    let found = build
        .tasks
        .iter()
        .filter(of_task)
        .flat_map(Task::artifacts)
        .find(|artifact| artifact.name == name);
    let artifact = found
        .ok_or_else(|| Problem::Missing(format!("Build {} has no file of that name.", build.id)))?;
    if let Some(address) = web
        .blobs
        .read_address(&artifact.digest, ADDRESS_VALID, Some(&artifact.name))
        .await?
    {
        return Ok((
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, address.url)],
        )
            .into_response());
    }
    let size = web
        .blobs
        .size(&artifact.digest)
        .await?
        .ok_or(BlobError::Missing(artifact.digest))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, as_download(&artifact.name)),
        (header::ETAG, format!("\"{}\"", artifact.digest.hex())),
    ];
    Ok((
        headers,
        Body::from_stream(pieces(web.blobs, artifact.digest, 0..size)),
    )
        .into_response())
}
