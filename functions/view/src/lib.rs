//! What people and programs are shown of a record: one shape for the pages, the JSON API and the command line.
//!
//! The shape is stable: fields are added, never renamed or taken away. Moments are RFC 3339 in UTC to the second, spans are
//! in milliseconds, sizes in bytes, digests `sha256:` and 64 hexadecimal digits; what does not apply is `null`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod build;
mod error;
pub mod find;
mod lists;
mod log;
mod pipeline;
mod platform;
mod push;
mod queue;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod time;
mod words;

pub use build::{ArtifactView, BuildView};
pub use error::ViewError;
pub use lists::{BuildList, PackageList, PlatformList, PushList, QueueView};
pub use log::{AttemptLog, log_bytes, log_text};
pub use pipeline::{AttemptView, HeldView, RetriedView, TaskKind, TaskView};
pub use platform::{PlatformView, RepositoryView, StepView};
pub use push::{PackageView, PushView};
pub use queue::{RunnerView, WaitingView};
pub use words::{ago, bytes, segment, span};
