//! Lists, part by part.

use crate::error::ViewError;
use millrace_core::BuildId;
use millrace_store::records::parse;
use millrace_store::{IndexHit, Record, StateError, StateStore, chain};
use serde::de::DeserializeOwned;
use tracing::warn;

/// Entries of a part if nobody asked for another number: a screen or two, read from the store at once.
pub const LIST_ENTRIES: usize = 50;

/// Most entries of a part: a build takes some 5 kB of JSON.
pub(super) const LIST_ENTRIES_MAX: usize = 200;

/// A part of a list, and where the next part begins.
#[derive(Debug)]
pub struct ListPart<T> {
    pub entries: Vec<T>,
    /// What `after` takes to get the next part; none if this is the last.
    pub next: Option<String>,
}

/// One part of an index.
pub(super) async fn part_of_index(
    state: &impl StateStore,
    index: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<ListPart<IndexHit>, ViewError> {
    let limit = limit.clamp(1, LIST_ENTRIES_MAX);
    let found = state
        .index_entries(index, position(after)?, limit + 1)
        .await?;
    Ok(cut(found, limit))
}

/// The first `limit` index entries; if there are more, the last of them says where the next part begins.
pub(super) fn cut(mut hits: Vec<IndexHit>, limit: usize) -> ListPart<IndexHit> {
    let more = hits.len() > limit;
    hits.truncate(limit);
    let next = hits.last().filter(|_| more).map(|hit| hit.sort.clone());
    ListPart {
        entries: hits,
        next,
    }
}

/// A position in a list as `next` gave it out: twenty digits, a slash and an id.
pub(super) fn position(after: Option<&str>) -> Result<Option<&str>, ViewError> {
    if after.is_none_or(is_position) {
        Ok(after)
    } else {
        Err(ViewError::Position)
    }
}

fn is_position(text: &str) -> bool {
    text.split_once('/').is_some_and(|(digits, id)| {
        digits.len() == 20
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && BuildId::new(id).is_ok()
    })
}

/// The records of a list that can be read.
pub(super) fn readable<T: DeserializeOwned>(records: &[Record]) -> Result<Vec<T>, StateError> {
    let found: Result<Vec<Option<T>>, StateError> = records
        .iter()
        .map(|record| skip_corrupt(parse(record).map(Some)))
        .collect();
    Ok(found?.into_iter().flatten().collect())
}

/// Leaves a record that cannot be read out of a list, and logs it for the line's operator.
pub(super) fn skip_corrupt<T>(
    found: Result<Option<T>, StateError>,
) -> Result<Option<T>, StateError> {
    match found {
        Err(error @ StateError::Corrupt { .. }) => {
            warn!(problem = chain(&error), "a record is left out of a list");
            Ok(None)
        }
        other => other,
    }
}
