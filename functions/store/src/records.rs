//! Typed access to records: which key, which index entries, and JSON in between.

use crate::state::{
    Cause, Commit, Expect, IndexEntry, Key, Record, SaveError, StateError, StateStore, Table,
    Version, Write,
};
use millrace_core::order::Effect;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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

/// The form of the records that this program writes. It grows with a field whose loss would harm: a program that knows a smaller one
/// neither reads nor rewrites such a record, and so drops nothing of it. Records from before there were forms have the form 1.
pub const FORM: u32 = 2;

/// Where a record says its form. Programs from before there were forms pass over it.
#[derive(Deserialize)]
struct Formed {
    #[serde(default = "first_form")]
    form: u32,
}

const fn first_form() -> u32 {
    1
}

/// A record that a newer program wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a newer millrace wrote it (form {form}; this one knows {FORM}): upgrade this one, and nothing is lost"
)]
pub struct NewerRecord {
    form: u32,
}

/// Reads a record's body.
pub fn parse<T: DeserializeOwned>(record: &Record) -> Result<T, StateError> {
    check_form(record)?;
    serde_json::from_str(&record.body).map_err(|error| unreadable(&record.key, error))
}

/// Makes sure that this program may rewrite a record.
fn check_form(record: &Record) -> Result<(), StateError> {
    // What is no object has one form for ever; what is no JSON is told by who reads it.
    let Ok(Formed { form }) = serde_json::from_str(&record.body) else {
        return Ok(());
    };
    if form > FORM {
        return Err(unreadable(&record.key, NewerRecord { form }));
    }
    Ok(())
}

/// A body with the form that this program writes.
fn with_form(body: String) -> String {
    match body.strip_prefix('{') {
        Some("}") => format!("{{\"form\":{FORM}}}"),
        Some(rest) => format!("{{\"form\":{FORM},{rest}"),
        None => body,
    }
}

fn unreadable(key: &Key, cause: impl Into<Cause>) -> StateError {
    StateError::unreadable(format!("{} `{}`", key.table.as_str(), key.id), cause)
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
    let key = Key::new(table, id);
    let body = serde_json::to_string(value).map_err(|error| unreadable(&key, error))?;
    Ok(Write {
        key,
        expect,
        body: Some(with_form(body)),
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
            Some(record) => {
                check_form(&record)?;
                Expect::Version(record.version)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use millrace_core::push::Package;
    use millrace_core::{Timestamp, chain};

    const NOW: Timestamp = Timestamp(1_000);

    fn package() -> Package {
        let url = "http://forge/rpms/zlib.git".to_owned();
        Package::new("zlib".parse().unwrap(), url, Vec::new(), NOW)
    }

    async fn keep(store: &MemoryStore, body: String) {
        let write = Write {
            key: Key::new(Table::Package, "zlib"),
            expect: Expect::Absent,
            body: Some(body),
            index_entries: Vec::new(),
        };
        store.save(write.into()).await.unwrap();
    }

    async fn body(store: &MemoryStore) -> String {
        let key = Key::new(Table::Package, "zlib");
        store.load(&key).await.unwrap().unwrap().body
    }

    #[tokio::test]
    async fn a_record_of_before_there_were_forms_is_read_and_has_one_when_it_is_written() {
        let store = MemoryStore::new();
        let old = serde_json::to_string(&package()).unwrap();
        keep(&store, old.clone()).await;
        let read: Option<(Package, _)> = get(&store, Table::Package, "zlib").await.unwrap();
        assert_eq!(read.map(|(package, _)| package), Some(package()));
        replace(&store, Table::Package, "zlib", &package())
            .await
            .unwrap();
        assert_eq!(body(&store).await, old.replacen('{', r#"{"form":2,"#, 1));
    }

    #[tokio::test]
    async fn an_older_program_drops_nothing_of_a_newer_ones_record() {
        let store = MemoryStore::new();
        let of_package = serde_json::to_string(&package()).unwrap();
        let newer = of_package.replacen('{', r#"{"form":3,"approved":true,"#, 1);
        keep(&store, newer.clone()).await;
        let told = get::<Package>(&store, Table::Package, "zlib")
            .await
            .unwrap_err();
        assert_eq!(
            chain(&told),
            "the state store holds what cannot be read: package `zlib`: a newer millrace wrote it (form 3; this one knows 2): upgrade this one, and nothing is lost"
        );
        assert!(
            replace(&store, Table::Package, "zlib", &package())
                .await
                .is_err()
        );
        let name = "zlib".parse().unwrap();
        let changed = crate::packages::change(&store, &name, |package| package.platforms.clear());
        assert!(changed.await.is_err());
        assert_eq!(body(&store).await, newer);
    }

    #[test]
    fn what_is_no_object_has_one_form_for_ever() {
        assert_eq!(with_form("\"zlib\"".to_owned()), "\"zlib\"");
        assert_eq!(with_form("{}".to_owned()), "{\"form\":2}");
    }
}
