//! Typed access to records: which key, which index entries, and JSON in between.

use crate::state::{
    Commit, Expect, IndexEntry, Key, Record, SaveError, StateError, StateStore, Table, Version,
    Write,
};
use millrace_core::order::Effect;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads a record's body.
pub fn parse<T: DeserializeOwned>(record: &Record) -> Result<T, StateError> {
    serde_json::from_str(&record.body).map_err(|error| {
        StateError::Corrupt(format!(
            "{} `{}`: {error}",
            record.key.table.as_str(),
            record.key.id
        ))
    })
}

/// Reads a record of a type, with the version that a later write must expect.
pub async fn get<T: DeserializeOwned>(
    state: &impl StateStore,
    table: Table,
    id: &str,
) -> Result<Option<(T, Version)>, StateError> {
    match state.load(&Key::new(table, id)).await? {
        Some(record) => Ok(Some((parse(&record)?, record.version))),
        None => Ok(None),
    }
}

/// A write of a value as JSON.
pub fn write<T: Serialize>(
    table: Table,
    id: &str,
    expect: Expect,
    value: &T,
    index_entries: Vec<IndexEntry>,
) -> Result<Write, StateError> {
    let body = serde_json::to_string(value)
        .map_err(|error| StateError::Corrupt(format!("{} `{id}`: {error}", table.as_str())))?;
    Ok(Write {
        key: Key::new(table, id),
        expect,
        body: Some(body),
        index_entries,
    })
}

/// Writes one value and its effects.
pub async fn put<T: Serialize>(
    state: &impl StateStore,
    table: Table,
    id: &str,
    expect: Expect,
    value: &T,
    effects: Vec<Effect>,
) -> Result<(), SaveError> {
    let writes = vec![write(table, id, expect, value, Vec::new())?];
    state.save(Commit { writes, effects }).await
}

/// Writes one value whatever is there now: for settings that the last word wins.
pub async fn replace<T: Serialize>(
    state: &impl StateStore,
    table: Table,
    id: &str,
    value: &T,
) -> Result<(), SaveError> {
    loop {
        let expect = match state.load(&Key::new(table, id)).await? {
            Some(record) => Expect::Version(record.version),
            None => Expect::Absent,
        };
        match put(state, table, id, expect, value, Vec::new()).await {
            Err(SaveError::Conflict(_)) => continue,
            other => return other,
        }
    }
}

/// All values of a kind, in the order of their ids.
pub async fn all<T: DeserializeOwned>(
    state: &impl StateStore,
    table: Table,
) -> Result<Vec<T>, StateError> {
    const PAGE: usize = 200;
    let mut values = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = state.list(table, after.as_deref(), PAGE).await?;
        for record in &page {
            values.push(parse(record)?);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key.id.clone()),
            _ => return Ok(values),
        }
    }
}
