//! Finds what is shown: records by id, and lists part by part, the newest first.

mod builds;
mod impact;
mod list;
mod packages;
mod platforms;
mod queue;

pub use builds::{
    BuildFilter, HistoryEntry, build, build_record, builds, builds_of_push, history, lock, push,
    pushes,
};
pub use impact::{ImpactView, impact};
pub use list::{LIST_ENTRIES, ListPart};
pub use packages::{package, packages};
pub use platforms::{platform, platforms};
pub use queue::{runners, waiting};

use crate::error::ViewError;
use std::str::FromStr;

/// A visitor's text as an id; a text that cannot be one is an id of nothing.
pub fn parse_id<T: FromStr>(what: &'static str, text: &str) -> Result<T, ViewError> {
    text.parse().map_err(|_| ViewError::no_record(what, text))
}
