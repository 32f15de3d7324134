//! Files go to runners by their digest, and come from the runner that holds a lease.

use super::Desk;
use super::denied::Denied;
use super::speaker::{build_of_lease, speaker};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_core::protocol::{Upload, UploadTarget};
use millrace_core::range::{self, RequestedRange};
use millrace_core::roots::LOCK_BYTES_MAX;
use millrace_core::task::{LeaseId, Outcome};
use millrace_core::{Digest, Timestamp};
use millrace_store::{BlobStore, StateStore, pieces};
use sha2::{Digest as _, Sha256};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long an address is good for that a runner gets: it uses it at once, and what has begun by then may end later.
const ADDRESS_VALID: Duration = Duration::from_secs(900);

pub(crate) async fn download<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    method: Method,
    headers: HeaderMap,
    Path(digest): Path<String>,
) -> Result<Response, Denied> {
    speaker(&desk, &headers).await?;
    let digest: Digest = digest
        .parse()
        .map_err(|error: millrace_core::DigestError| Denied::Bad(error.to_string()))?;
    let size = desk
        .blobs
        .size(&digest)
        .await?
        .ok_or_else(|| Denied::Missing(format!("no blob {digest}")))?;
    if let Some(address) = desk
        .blobs
        .read_address(&digest, ADDRESS_VALID, None)
        .await?
    {
        return Ok((
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, address.url)],
        )
            .into_response());
    }
    let tag = format!("\"{}\"", digest.hex());
    let about = [
        (header::ETAG, tag.clone()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let body = |range: Range<u64>| {
        let length = (range.end - range.start).to_string();
        let headers = [
            (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            (header::CONTENT_LENGTH, length),
        ];
        (
            headers,
            Body::from_stream(pieces(desk.blobs, digest, range)),
        )
    };
    let place = |place: String| [(header::CONTENT_RANGE, format!("bytes {place}/{size}"))];
    Ok(match asked(&method, &headers, &tag, size) {
        RequestedRange::All => (about, body(0..size)).into_response(),
        RequestedRange::Part(range) => {
            let place = place(format!("{}-{}", range.start, range.end - 1));
            (StatusCode::PARTIAL_CONTENT, about, place, body(range)).into_response()
        }
        RequestedRange::Nothing => (
            StatusCode::RANGE_NOT_SATISFIABLE,
            about,
            place("*".to_owned()),
        )
            .into_response(),
    })
}

/// Which bytes a request asks for (RFC 9110, 14.2); a condition on something else than this blob makes it all of it (13.1.5).
fn asked(method: &Method, headers: &HeaderMap, tag: &str, size: u64) -> RequestedRange {
    let text = |name: header::HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let same = text(header::IF_RANGE).is_none_or(|known| known == tag);
    text(header::RANGE)
        .filter(|_| same && *method == Method::GET)
        .map_or(RequestedRange::All, |range| range::read(range, size))
}

/// Where a file shall go that a holder of a lease hands in.
pub(crate) async fn place<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(Upload {
        lease_id,
        digest,
        size,
    }): Json<Upload>,
) -> Result<Json<UploadTarget>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let bytes_max = build_of_lease(&desk, &runner, &lease_id)
        .await?
        .limits_of(&lease_id.task)
        .disk_bytes;
    if size > bytes_max {
        return Err(too_large(bytes_max));
    }
    if desk.blobs.size(&digest).await? == Some(size) {
        return Ok(Json(UploadTarget::Kept));
    }
    let address = desk
        .blobs
        .write_address(&digest, size, ADDRESS_VALID)
        .await?;
    Ok(Json(address.map_or(UploadTarget::Desk, |address| {
        UploadTarget::Address {
            url: address.url,
            headers: address.headers,
        }
    })))
}

fn too_large(bytes_max: u64) -> Denied {
    Denied::Bad(format!(
        "the file is larger than the task's {bytes_max} bytes"
    ))
}

pub(crate) async fn upload<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Path(digest): Path<String>,
    Query(lease_id): Query<LeaseId>,
    body: Body,
) -> Result<StatusCode, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let build = build_of_lease(&desk, &runner, &lease_id).await?;
    let digest: Digest = digest
        .parse()
        .map_err(|error: millrace_core::DigestError| Denied::Bad(error.to_string()))?;
    let file = Incoming::new(&desk.incoming, (desk.clock)());
    // Only what is what it was announced to be is kept: under another digest nobody would ever ask for it.
    let found = file
        .receive(body, build.limits_of(&lease_id.task).disk_bytes)
        .await?;
    if found != digest {
        return Err(Denied::Bad(format!(
            "the file's digest is {found}, and {digest} was announced"
        )));
    }
    desk.blobs.put_file(&file.path).await?;
    Ok(StatusCode::CREATED)
}

/// Makes sure that everything an answer hands over has come, so that nothing later looks for it in vain.
pub(super) async fn are_here<S: StateStore, B: BlobStore>(
    desk: &Desk<S, B>,
    outcome: &Outcome,
    roots: Option<Digest>,
) -> Result<(), Denied> {
    if let Some(roots) = roots
        && desk
            .blobs
            .size(&roots)
            .await?
            .is_none_or(|size| size > LOCK_BYTES_MAX)
    {
        return Err(Denied::Bad(format!(
            "what was in the roots was not uploaded, or is more than {LOCK_BYTES_MAX} bytes"
        )));
    }
    let Outcome::Passed { artifacts, .. } = outcome else {
        return Ok(());
    };
    for artifact in artifacts {
        match desk.blobs.size(&artifact.digest).await? {
            Some(size) if size == artifact.size => {}
            Some(size) => {
                return Err(Denied::Bad(format!(
                    "{} has {size} bytes, and {} were announced",
                    artifact.name, artifact.size
                )));
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
        Self {
            path: folder.join(format!(
                "incoming-{}-{}-{number}",
                std::process::id(),
                now.0
            )),
        }
    }

    /// Takes the bytes as they come, and answers their digest.
    async fn receive(&self, body: Body, bytes_max: u64) -> Result<Digest, Denied> {
        let trouble =
            |error: std::io::Error| Denied::Trouble(format!("keeping the upload: {error}"));
        let mut file = tokio::fs::File::create(&self.path).await.map_err(trouble)?;
        let mut stream = body.into_data_stream();
        let (mut hasher, mut received) = (Sha256::new(), 0u64);
        while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
            let piece =
                piece.map_err(|error| Denied::Bad(format!("the upload broke off: {error}")))?;
            received += piece.len() as u64;
            if received > bytes_max {
                return Err(too_large(bytes_max));
            }
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(trouble)?;
        }
        file.flush().await.map_err(trouble)?;
        Ok(Digest::from_bytes(hasher.finalize().into()))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
