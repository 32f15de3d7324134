//! Logs come in as chunks, and are there to read as soon as they came.

use super::{Denied, Desk, holds, speaker};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use millrace_core::log::{Chunk, LogIndex};
use millrace_core::protocol::{Holding, Logged};
use millrace_core::task::TaskId;
use millrace_core::{BuildId, LeaseNumber};
use millrace_store::records::{get, put};
use millrace_store::{BlobStore, Expect, SaveError, StateStore, Table};
use serde::Deserialize;

/// Largest chunk, in bytes: a runner that was cut off for a minute catches up in one or two.
pub(crate) const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Where a chunk belongs.
#[derive(Debug, Deserialize)]
pub(crate) struct Place {
    build: BuildId,
    task: TaskId,
    lease: LeaseNumber,
    /// Bytes of the log before it.
    offset: u64,
}

/// Id of an attempt's log.
fn log_id(holding: &Holding) -> String {
    format!("{}/{}/{}", holding.build, holding.task, holding.lease)
}

pub(crate) async fn append<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Query(place): Query<Place>,
    bytes: Bytes,
) -> Result<Json<Logged>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let holding = Holding { build: place.build, task: place.task, lease: place.lease };
    holds(&desk, &runner, &holding).await?;
    let chunk = Chunk { size: bytes.len() as u64, digest: desk.blobs.put(bytes.to_vec()).await? };
    let id = log_id(&holding);
    loop {
        let (mut index, expect) = read(&desk, &id).await?;
        if !index.append(place.offset, chunk.clone()).map_err(|error| Denied::Bad(error.to_string()))? {
            return Ok(Json(Logged { end: index.size() }));
        }
        match put(&desk.state, Table::Log, &id, expect, &index, Vec::new()).await {
            Ok(()) => return Ok(Json(Logged { end: index.size() })),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Marks the log as whole.
pub(super) async fn end<S: StateStore, B: BlobStore>(desk: &Desk<S, B>, holding: &Holding) -> Result<(), Denied> {
    let id = log_id(holding);
    loop {
        let (mut index, expect) = read(desk, &id).await?;
        if index.ended {
            return Ok(());
        }
        index.ended = true;
        match put(&desk.state, Table::Log, &id, expect, &index, Vec::new()).await {
            Err(SaveError::Conflict(_)) => continue,
            other => return Ok(other?),
        }
    }
}

async fn read<S: StateStore, B>(desk: &Desk<S, B>, id: &str) -> Result<(LogIndex, Expect), Denied> {
    Ok(match get(&desk.state, Table::Log, id).await? {
        Some((index, version)) => (index, Expect::Version(version)),
        None => (LogIndex::default(), Expect::Absent),
    })
}
