//! Records, index entries and messages in SQLite: one transaction a commit.

use super::{LocalStore, blocking};
use crate::state::{
    Commit, DELIVERIES_MAX, Expect, IndexEntry, IndexHit, Key, Message, MessageId, Record,
    SaveError, StateError, StateStore, Table, Version, Write, check,
};
use millrace_core::Timestamp;
use millrace_core::order::Effect;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params,
};

const LOAD: &str =
    "SELECT id, version, body FROM record WHERE tbl = ?1 AND id = ?2 AND body IS NOT NULL";
const LIST: &str = "SELECT id, version, body FROM record WHERE tbl = ?1 AND id > ?2 AND body IS NOT NULL ORDER BY id LIMIT ?3";
const PUT: &str = "INSERT INTO record VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body";
// The row stays without a body, so that a record of the same name goes on with its versions.
const REMOVE: &str =
    "UPDATE record SET version = version + 1, body = NULL WHERE tbl = ?1 AND id = ?2";
const VERSION: &str = "SELECT version, body IS NOT NULL FROM record WHERE tbl = ?1 AND id = ?2";
const REMOVE_ENTRIES: &str = "DELETE FROM mark WHERE tbl = ?1 AND id = ?2";
const PUT_ENTRY: &str = "INSERT OR IGNORE INTO mark VALUES (?1, ?2, ?3, ?4)";
const FIND_ENTRIES: &str =
    "SELECT sort, tbl, id FROM mark WHERE idx = ?1 AND sort > ?2 ORDER BY sort, tbl, id LIMIT ?3";
const POST: &str = "INSERT INTO letter (effect) VALUES (?1)";
const MAKE_DEAD_LETTERS: &str = "UPDATE letter SET set_aside = 1 WHERE set_aside = 0 AND hidden_until <= ?1 AND deliveries >= ?2";
const DUE: &str = "SELECT id, effect, deliveries FROM letter WHERE set_aside = 0 AND hidden_until <= ?1 ORDER BY id LIMIT ?2";
const DELIVER: &str =
    "UPDATE letter SET deliveries = deliveries + 1, hidden_until = ?2 WHERE id = ?1";
const HIDE_NO_LONGER: &str =
    "UPDATE letter SET hidden_until = ?1 WHERE hidden_until > ?1 AND set_aside = 0";
const MAKE_ONE_DEAD_LETTER: &str = "UPDATE letter SET set_aside = 1 WHERE id = ?1";
const SETTLE: &str = "DELETE FROM letter WHERE id = ?1";
const DEAD_LETTERS: &str =
    "SELECT id, effect, deliveries FROM letter WHERE set_aside = 1 ORDER BY id LIMIT ?1";
const OUT: &str =
    "SELECT id, effect, deliveries FROM letter WHERE set_aside = 0 ORDER BY id LIMIT ?1";
const PUT_BACK: &str =
    "UPDATE letter SET set_aside = 0, deliveries = 0, hidden_until = ?2 WHERE id = ?1";

impl From<rusqlite::Error> for StateError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error::{
            FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType,
        };
        let damaged = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        ) || matches!(
            error,
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
        );
        if damaged {
            Self::unreadable("the database", error)
        } else {
            Self::unavailable(error)
        }
    }
}

impl From<rusqlite::Error> for SaveError {
    fn from(error: rusqlite::Error) -> Self {
        Self::State(error.into())
    }
}

impl LocalStore {
    /// Messages that a question finds.
    async fn messages(
        &self,
        question: &'static str,
        limit: usize,
    ) -> Result<Vec<Message>, StateError> {
        self.with(move |database| {
            let mut query = database.prepare_cached(question)?;
            let rows = query.query_map([bounded(limit as u64)], message)?;
            rows.map(|row| Ok(read_message(row?))).collect()
        })
        .await
    }

    /// Runs something with the database, on a thread that may wait.
    async fn with<T: Send + 'static, E: From<StateError> + Send + 'static>(
        &self,
        what: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let store = self.clone();
        let lost = |error: std::io::Error| E::from(StateError::unavailable(error));
        blocking(move || what(&mut store.database()))
            .await
            .map_err(lost)?
    }
}

fn number(value: u64) -> Result<i64, StateError> {
    i64::try_from(value)
        .map_err(|_| StateError::unavailable(format!("{value} is larger than the database takes")))
}

/// A time or a limit; what is larger than the database takes means the same as the largest that it does.
fn bounded(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn record(table: Table, row: &Row<'_>) -> rusqlite::Result<Record> {
    let version: i64 = row.get(1)?;
    Ok(Record {
        key: Key {
            table,
            id: row.get(0)?,
        },
        version: Version(version.unsigned_abs()),
        body: row.get(2)?,
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<(i64, String, u32)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn read_message((id, effect, deliveries): (i64, String, u32)) -> Message {
    Message {
        id: MessageId(id.unsigned_abs()),
        effect: Effect::read(&effect),
        deliveries,
    }
}

fn apply(commit: &Transaction<'_>, write: &Write) -> Result<(), SaveError> {
    let (table, id) = (write.key.table.as_str(), write.key.id.as_str());
    let row: Option<(i64, bool)> = commit
        .prepare_cached(VERSION)?
        .query_row([table, id], |row| row.try_into())
        .optional()?;
    let stands = match (write.expect, row) {
        (Expect::Absent, None | Some((_, false))) => true,
        (Expect::Version(version), Some((found, true))) => found == number(version.0)?,
        (Expect::Absent, Some((_, true))) | (Expect::Version(_), None | Some((_, false))) => false,
    };
    if !stands {
        return Err(SaveError::Conflict(write.key.clone()));
    }
    commit
        .prepare_cached(REMOVE_ENTRIES)?
        .execute([table, id])?;
    let Some(body) = &write.body else {
        commit.prepare_cached(REMOVE)?.execute([table, id])?;
        return Ok(());
    };
    let version = row.map_or(1, |(found, _)| found + 1);
    commit
        .prepare_cached(PUT)?
        .execute(params![table, id, version, body])?;
    for IndexEntry { index, sort } in &write.index_entries {
        commit
            .prepare_cached(PUT_ENTRY)?
            .execute([index, sort, table, id])?;
    }
    Ok(())
}

fn save(database: &mut Connection, commit: &Commit) -> Result<(), SaveError> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in &commit.writes {
        apply(&transaction, write)?;
    }
    for effect in &commit.effects {
        let body = serde_json::to_string(effect)
            .map_err(|error| StateError::unreadable("an effect", error))?;
        transaction.prepare_cached(POST)?.execute([body])?;
    }
    Ok(transaction.commit()?)
}

fn take(
    database: &mut Connection,
    limit: usize,
    now: Timestamp,
    hidden_until: Timestamp,
) -> Result<Vec<Message>, StateError> {
    // Most of the time nothing is due, and looking needs no write.
    let first: Option<i64> = database
        .prepare_cached(DUE)?
        .query_row([bounded(now.0), 1], |row| row.get(0))
        .optional()?;
    if first.is_none() {
        return Ok(Vec::new());
    }
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction
        .prepare_cached(MAKE_DEAD_LETTERS)?
        .execute(params![bounded(now.0), DELIVERIES_MAX])?;
    let mut messages = Vec::new();
    for (id, effect, deliveries) in due(&transaction, limit, now)? {
        let message = read_message((id, effect, deliveries + 1));
        if message.is_readable() {
            transaction
                .prepare_cached(DELIVER)?
                .execute([id, bounded(hidden_until.0)])?;
            messages.push(message);
        } else {
            // It must not hold up those behind it.
            transaction
                .prepare_cached(MAKE_ONE_DEAD_LETTER)?
                .execute([id])?;
        }
    }
    transaction.commit()?;
    Ok(messages)
}

/// Read to the end before the first of them is changed: SQLite does not say what a query sees of changes made beside it.
fn due(
    transaction: &Transaction<'_>,
    limit: usize,
    now: Timestamp,
) -> rusqlite::Result<Vec<(i64, String, u32)>> {
    transaction
        .prepare_cached(DUE)?
        .query_map([bounded(now.0), bounded(limit as u64)], message)?
        .collect()
}

impl LocalStore {
    /// Lets no message be hidden for longer than this: those that are were taken by a clock that was ahead. Answers how many there were.
    pub async fn hide_no_longer_than(&self, until: Timestamp) -> Result<usize, StateError> {
        self.with(move |database| {
            Ok(database
                .prepare_cached(HIDE_NO_LONGER)?
                .execute([bounded(until.0)])?)
        })
        .await
    }
}

impl StateStore for LocalStore {
    async fn load(&self, key: &Key) -> Result<Option<Record>, StateError> {
        let key = key.clone();
        self.with(move |database| {
            let found = database
                .prepare_cached(LOAD)?
                .query_row([key.table.as_str(), &key.id], |row| record(key.table, row));
            Ok(found.optional()?)
        })
        .await
    }

    async fn save(&self, commit: Commit) -> Result<(), SaveError> {
        check(&commit)?;
        self.with(move |database| save(database, &commit)).await
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StateError> {
        let after = after.unwrap_or_default().to_owned();
        self.with(move |database| {
            let mut query = database.prepare_cached(LIST)?;
            let rows = query.query_map(
                params![table.as_str(), after, bounded(limit as u64)],
                |row| record(table, row),
            )?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn index_entries(
        &self,
        index: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IndexHit>, StateError> {
        let (index, after) = (index.to_owned(), after.unwrap_or_default().to_owned());
        self.with(move |database| {
            let mut query = database.prepare_cached(FIND_ENTRIES)?;
            let rows = query.query_map(params![index, after, bounded(limit as u64)], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, String>(2)?,
                ))
            })?;
            let hit = |(sort, table, id): (String, String, String)| {
                let known = Table::ALL.into_iter().find(|known| known.as_str() == table);
                let table = known.ok_or_else(|| {
                    StateError::corrupt(format!("an index entry of the unknown table `{table}`"))
                })?;
                Ok(IndexHit {
                    sort,
                    key: Key { table, id },
                })
            };
            rows.map(|row| hit(row?)).collect()
        })
        .await
    }

    async fn take(
        &self,
        limit: usize,
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> Result<Vec<Message>, StateError> {
        self.with(move |database| take(database, limit, now, hidden_until))
            .await
    }

    async fn settle(&self, message: MessageId) -> Result<(), StateError> {
        self.with(move |database| {
            database
                .prepare_cached(SETTLE)?
                .execute([number(message.0)?])?;
            Ok(())
        })
        .await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.messages(DEAD_LETTERS, limit).await
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.messages(OUT, limit).await
    }

    async fn put_back(&self, message: MessageId, now: Timestamp) -> Result<bool, StateError> {
        let (id, now) = (bounded(message.0), bounded(now.0));
        self.with(move |database| Ok(database.prepare_cached(PUT_BACK)?.execute([id, now])? > 0))
            .await
    }
}
