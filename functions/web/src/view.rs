//! What people and programs are shown of a record: one shape for the pages, the JSON API and the command line.
//!
//! The shape is stable: fields are added, never renamed or taken away. Moments are RFC 3339 in UTC to the second, spans are
//! in milliseconds, sizes in bytes, digests `sha256:` and 64 hexadecimal digits; what there is nothing to say of is `null`.

mod build;
mod pipeline;
mod platform;
mod push;
mod queue;
mod words;

pub use build::{ArtifactView, BuildView};
pub use pipeline::{AttemptView, HeldView, RetriedView, TaskKind, TaskView};
pub use platform::{PlatformView, RepositoryView, StepView};
pub use push::{PackageView, PushView};
pub use queue::{MachineView, WaitingView};
pub use words::{ago, bytes, segment, span};

use millrace_core::Timestamp;
use serde::Serializer;

fn rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.rfc3339())
}

fn rfc3339_or_null<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}
