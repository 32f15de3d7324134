//! Files go to runners by their digest, and come from whoever holds a lease.

use super::{Denied, Desk, holds, speaker};
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_core::protocol::Holding;
use millrace_core::task::Outcome;
use millrace_core::{Digest, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::{BlobStore, StateStore, pieces};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;

pub(crate) async fn download<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Path(digest): Path<String>,
) -> Result<Response, Denied> {
    speaker(&desk, &headers).await?;
    let digest: Digest = digest.parse().map_err(|error: millrace_core::DigestError| Denied::Bad(error.to_string()))?;
    let size = desk.blobs.size(&digest).await?.ok_or_else(|| Denied::Missing(format!("no blob {digest}")))?;
    let body = Body::from_stream(pieces(desk.blobs, digest, 0..size));
    Ok(([(header::CONTENT_LENGTH, size.to_string()), (header::CONTENT_TYPE, "application/octet-stream".to_owned())], body)
        .into_response())
}

pub(crate) async fn upload<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Path(digest): Path<String>,
    Query(holding): Query<Holding>,
    body: Body,
) -> Result<StatusCode, Denied> {
    let runner = speaker(&desk, &headers).await?;
    holds(&desk, &runner, &holding).await?;
    let digest: Digest = digest.parse().map_err(|error: millrace_core::DigestError| Denied::Bad(error.to_string()))?;
    let build = load_build(&desk.state, &holding.build).await?;
    let bytes_max = build.map_or(0, |(build, _)| build.limits_of(&holding.task).disk_bytes);
    let file = Incoming::new(&desk.incoming, (desk.clock)());
    let received = file.receive(body, bytes_max).await;
    let kept = match received {
        Ok(()) => desk.blobs.put_file(&file.path).await.map_err(Denied::from),
        Err(error) => Err(error),
    };
    let (found, _) = kept?;
    if found != digest {
        return Err(Denied::Bad(format!("the file's digest is {found}, and {digest} was announced")));
    }
    Ok(StatusCode::CREATED)
}

/// Makes sure that everything an answer hands over has come, so that nothing later looks for it in vain.
pub(super) async fn are_here<S: StateStore, B: BlobStore>(desk: &Desk<S, B>, outcome: &Outcome) -> Result<(), Denied> {
    let Outcome::Passed { artifacts, .. } = outcome else { return Ok(()) };
    for artifact in artifacts {
        match desk.blobs.size(&artifact.digest).await? {
            Some(size) if size == artifact.size => {}
            Some(size) => {
                return Err(Denied::Bad(format!("{} has {size} bytes, and {} were announced", artifact.name, artifact.size)));
            }
            None => return Err(Denied::Bad(format!("{} was not uploaded", artifact.name))),
        }
    }
    Ok(())
}

/// A file on its way in; gone when it is dropped.
struct Incoming {
    path: PathBuf,
}

impl Incoming {
    fn new(folder: &std::path::Path, now: Timestamp) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { path: folder.join(format!("incoming-{}-{}-{number}", std::process::id(), now.0)) }
    }

    async fn receive(&self, body: Body, bytes_max: u64) -> Result<(), Denied> {
        let trouble = |error: std::io::Error| Denied::Trouble(format!("keeping the upload: {error}"));
        let mut file = tokio::fs::File::create(&self.path).await.map_err(trouble)?;
        let mut stream = body.into_data_stream();
        let mut received = 0u64;
        while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
            let piece = piece.map_err(|error| Denied::Bad(format!("the upload broke off: {error}")))?;
            received += piece.len() as u64;
            if received > bytes_max {
                return Err(Denied::Bad(format!("the file is larger than the task's {bytes_max} bytes")));
            }
            file.write_all(&piece).await.map_err(trouble)?;
        }
        file.flush().await.map_err(trouble)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
