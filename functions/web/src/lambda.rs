//! The web view as a function of AWS Lambda.

use crate::{Web, router};
use millrace_lambda::{Error, blobs, config, now, serve, state};
use std::sync::Arc;

/// Bytes of a log in one answer. Lambda answers with 6 MB at most, and what is no text takes a third more in there (AWS Lambda quotas,
/// "Invocation payload").
const PART_BYTES: u64 = 4 << 20;

/// Answers who looks at the line.
pub async fn web() -> Result<(), Error> {
    let config = config();
    serve(router(Web {
        state: state(&config)?,
        blobs: blobs(&config)?,
        clock: Arc::new(now),
        part_bytes: Some(PART_BYTES),
        url: None,
    }))
    .await
}
