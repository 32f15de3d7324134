//! Typed access to records: which key, which index entries, and JSON in between.

use crate::state::{
    Commit, Expect, IndexEntry, Key, Record, SaveError, StateError, StateStore, Table, Version,
    Write,
};
use millrace_core::order::Effect;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type of which each value is one record.
pub trait Stored: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync {
    /// The kind of its records.
    const TABLE: Table;

    /// The id of its record.
    fn id(&self) -> String;

    /// All index entries of its record.
    fn index_entries(&self) -> Vec<IndexEntry>;

    /// A write of it.
    fn write(&self, expect: Expect) -> Result<Write, StateError> {
        write(Self::TABLE, &self.id(), expect, self, self.index_entries())
    }
}

/// Writes a new value down; false if one of its id is there, which stays as it is.
pub async fn create<T: Stored>(state: &impl StateStore, value: &T) -> Result<bool, SaveError> {
    match state.save(value.write(Expect::Absent)?.into()).await {
        Ok(()) => Ok(true),
        Err(SaveError::Conflict(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Changes a value, and answers what the change does; none if there is none of this id. Again if somebody else was faster.
pub async fn change<T: Stored, A>(
    state: &impl StateStore,
    id: &str,
    change: impl Fn(&mut T) -> A,
) -> Result<Option<A>, SaveError> {
    loop {
        let Some((before, version)) = get::<T>(state, T::TABLE, id).await? else {
            return Ok(None);
        };
        let mut after = before.clone();
        let answer = change(&mut after);
        if after == before {
            return Ok(Some(answer));
        }
        match state
            .save(after.write(Expect::Version(version))?.into())
            .await
        {
            Ok(()) => return Ok(Some(answer)),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
    }
}

/// Removes a record, whatever it says now; false if there is none.
pub async fn remove(state: &impl StateStore, key: &Key) -> Result<bool, SaveError> {
    loop {
        let Some(record) = state.load(key).await? else {
            return Ok(false);
        };
        match state
            .save(Write::removal(record.key, record.version).into())
            .await
        {
            Ok(()) => return Ok(true),
            Err(SaveError::Conflict(_)) => continue,
            Err(error) => return Err(error),
        }
    }
}

/// Reads a record's body.
pub fn parse<T: DeserializeOwned>(record: &Record) -> Result<T, StateError> {
    serde_json::from_str(&record.body).map_err(|error| {
        let Key { table, id } = &record.key;
        StateError::unreadable(format!("{} `{id}`", table.as_str()), error)
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
        .map_err(|error| StateError::unreadable(format!("{} `{id}`", table.as_str()), error))?;
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
