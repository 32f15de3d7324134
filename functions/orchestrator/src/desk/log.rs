//! Logs come in as chunks, and are there to read as soon as they came.

use super::Desk;
use super::denied::Denied;
use super::speaker::{build_of_lease, speaker};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use millrace_core::log::{Chunk, LogIndex};
use millrace_core::protocol::Logged;
use millrace_core::task::{LeaseId, TaskId};
use millrace_core::{BuildId, Digest, LeaseNumber};
use millrace_store::records::{get, put};
use millrace_store::{BlobStore, Expect, SaveError, StateStore, Table};
use serde::Deserialize;

/// Largest chunk, in bytes: a runner that was cut off for a minute catches up in one or two.
pub(crate) const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Bytes that a log may have beyond what its task may write: the runner's own line that says that it ends there.
const LOG_BYTES_SPARE: u64 = 4096;

/// The place of a chunk: in which log, and where in it.
#[derive(Debug, Deserialize)]
pub(crate) struct LogPosition {
    build: BuildId,
    task: TaskId,
    lease: LeaseNumber,
    /// Bytes of the log before it.
    offset: u64,
}

/// Id of an attempt's log.
fn log_id(lease_id: &LeaseId) -> String {
    format!("{}/{}/{}", lease_id.build, lease_id.task, lease_id.number)
}

pub(crate) async fn append<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Query(place): Query<LogPosition>,
    bytes: Bytes,
) -> Result<Json<Logged>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let lease_id = LeaseId {
        build: place.build,
        task: place.task,
        number: place.lease,
    };
    let build = build_of_lease(&desk, &runner, &lease_id).await?;
    let bytes_max = build
        .limits_of(&lease_id.task)
        .log_bytes
        .saturating_add(LOG_BYTES_SPARE);
    let chunk = Chunk {
        size: bytes.len() as u64,
        digest: Digest::of(&bytes),
    };
    let id = log_id(&lease_id);
    let mut bytes = Some(bytes);
    loop {
        let (mut index, expect) = read(&desk, &id).await?;
        if !index
            .append(place.offset, chunk.clone())
            .map_err(|error| Denied::Bad(error.to_string()))?
        {
            return Ok(Json(logged(&desk, &index)));
        }
        if index.size() > bytes_max {
            return Err(Denied::Bad(format!(
                "the log would have {} bytes; a log of this task may have {bytes_max}",
                index.size()
            )));
        }
        // Only what has its place in the log is kept, and before the log says so.
        if let Some(bytes) = bytes.take() {
            desk.blobs.put(bytes.to_vec()).await?;
        }
        match put(&desk.state, Table::Log, &id, expect, &index, Vec::new()).await {
            Ok(()) => return Ok(Json(logged(&desk, &index))),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

fn logged<S, B>(desk: &Desk<S, B>, index: &LogIndex) -> Logged {
    Logged {
        end: index.size(),
        pause_s: desk.paces.map(|paces| paces.log_pause_s),
    }
}

/// Marks the log as whole.
pub(super) async fn end<S: StateStore, B: BlobStore>(
    desk: &Desk<S, B>,
    lease_id: &LeaseId,
) -> Result<(), Denied> {
    let id = log_id(lease_id);
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

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::log::CHUNKS_MAX;
    use millrace_store::state::RECORD_BYTES_MAX;

    #[test]
    fn the_index_of_a_log_of_the_largest_chunks_fits_into_a_record() {
        let largest = Chunk {
            size: CHUNK_BYTES_MAX as u64,
            digest: Digest::of(b"largest"),
        };
        let index = LogIndex {
            chunks: vec![largest; CHUNKS_MAX],
            ended: false,
        };
        let bytes = serde_json::to_string(&index).unwrap().len();
        assert!(bytes <= RECORD_BYTES_MAX, "{bytes} bytes");
    }
}
