//! Both ports in memory: for stories and the simulation. What is written is gone with the process.

use crate::blob::{BlobError, BlobStore, Part, PointerVersion, SwapError};
use crate::state::{
    Commit, DELIVERIES_MAX, Expect, IndexEntry, IndexHit, Key, Message, MessageId, Record,
    SaveError, StateError, StateStore, Table, Version, Write, check,
};
use millrace_core::order::Effect;
use millrace_core::{Digest, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

pub use turnstile::{Fare, Turnstile};

mod turnstile;

/// A store in memory. Clones share what it holds.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    held: Arc<Mutex<Contents>>,
    yields: bool,
    turnstile: Option<Turnstile>,
}

#[derive(Debug, Default)]
struct Contents {
    records: BTreeMap<Key, StoredRecord>,
    index_entries: BTreeMap<String, BTreeSet<(String, Key)>>,
    messages: BTreeMap<MessageId, StoredMessage>,
    messages_ever: u64,
    blobs: BTreeMap<Digest, Arc<[u8]>>,
    pointers: BTreeMap<String, (u64, Vec<u8>)>,
}

/// A record, or what stays of a removed one so that its versions go on where they were.
#[derive(Debug)]
struct StoredRecord {
    version: Version,
    body: Option<String>,
    index_entries: Vec<IndexEntry>,
}

#[derive(Debug)]
struct StoredMessage {
    effect: Effect,
    hidden_until: Timestamp,
    deliveries: u32,
    is_dead: bool,
}

impl StoredMessage {
    fn message(&self, id: MessageId) -> Message {
        Message {
            id,
            effect: self.effect.clone(),
            deliveries: self.deliveries,
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose every operation pauses once before and once after it takes effect: a test that drops a future in between has
    /// killed the caller between two of its writes.
    pub fn with_yields() -> Self {
        Self {
            yields: true,
            ..Self::default()
        }
    }

    /// The same store for one caller, whose every operation waits at this turnstile.
    pub fn through(&self, turnstile: &Turnstile) -> Self {
        Self {
            turnstile: Some(turnstile.clone()),
            ..self.clone()
        }
    }

    /// Messages that are not settled, hidden ones and dead letters among them.
    pub fn messages(&self) -> usize {
        self.held().messages.len()
    }

    /// What the messages say that are not settled, the oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.held()
            .messages
            .values()
            .map(|posted| posted.effect.clone())
            .collect()
    }

    /// Names of the indexes that have entries.
    pub fn indexes(&self) -> Vec<String> {
        self.held()
            .index_entries
            .iter()
            .filter(|(_, entries)| !entries.is_empty())
            .map(|(index, _)| index.clone())
            .collect()
    }

    /// Puts other bytes where those of a digest lie, as a medium that is damaged does, or a thief.
    pub fn alter(&self, digest: &Digest, bytes: Vec<u8>) {
        self.held().blobs.insert(*digest, bytes.into());
    }

    fn held(&self) -> MutexGuard<'_, Contents> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pause(&self) {
        let mut paused = !self.yields;
        poll_fn(|context| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Does something to what is held, with a pause on each side, unless the turnstile has other plans.
    async fn with<T, E>(
        &self,
        operation: &'static str,
        unavailable: impl FnOnce(String) -> E,
        what: impl FnOnce(&mut Contents) -> Result<T, E>,
    ) -> Result<T, E> {
        let fare = match &self.turnstile {
            Some(turnstile) => turnstile.pass(operation).await,
            None => Fare::Pass,
        };
        self.pause().await;
        let result = match fare {
            Fare::Pass => what(&mut self.held()),
            Fare::Fail => Err(unavailable(format!("it was not asked to {operation}"))),
            Fare::Lose => what(&mut self.held()).and(Err(unavailable(format!(
                "the answer to {operation} was lost"
            )))),
        };
        self.pause().await;
        result
    }

    async fn state<T>(
        &self,
        operation: &'static str,
        what: impl FnOnce(&mut Contents) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        self.with(operation, StateError::unavailable, what).await
    }

    async fn blob<T>(
        &self,
        operation: &'static str,
        what: impl FnOnce(&mut Contents) -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        self.with(operation, away, what).await
    }
}

fn away(problem: String) -> BlobError {
    BlobError::Io(io::Error::new(io::ErrorKind::NotConnected, problem))
}

impl Contents {
    fn stands(&self, write: &Write) -> bool {
        let found = self
            .records
            .get(&write.key)
            .filter(|kept| kept.body.is_some());
        match write.expect {
            Expect::Absent => found.is_none(),
            Expect::Version(version) => found.is_some_and(|kept| kept.version == version),
        }
    }

    fn apply(&mut self, write: Write) {
        let Write {
            key,
            body,
            mut index_entries,
            ..
        } = write;
        let before = self.records.remove(&key);
        for IndexEntry { index, sort } in before.iter().flat_map(|kept| &kept.index_entries) {
            if let Some(of_index) = self.index_entries.get_mut(index) {
                of_index.remove(&(sort.clone(), key.clone()));
            }
        }
        if body.is_none() {
            index_entries.clear();
        }
        for IndexEntry { index, sort } in &index_entries {
            self.index_entries
                .entry(index.clone())
                .or_default()
                .insert((sort.clone(), key.clone()));
        }
        let version = Version(before.map_or(1, |kept| kept.version.0 + 1));
        self.records.insert(
            key,
            StoredRecord {
                version,
                body,
                index_entries,
            },
        );
    }

    fn record(&self, key: &Key) -> Option<Record> {
        let kept = self.records.get(key)?;
        Some(Record {
            key: key.clone(),
            version: kept.version,
            body: kept.body.clone()?,
        })
    }

    fn list(&self, table: Table, after: Option<&str>, limit: usize) -> Vec<Record> {
        let from = Key::new(table, after.unwrap_or_default());
        let keys = self
            .records
            .range(&from..)
            .map(|(key, _)| key)
            .take_while(|key| key.table == table);
        keys.filter(|key| after.is_none_or(|after| key.id != after))
            .filter_map(|key| self.record(key))
            .take(limit)
            .collect()
    }

    fn index_entries(&self, index: &str, after: Option<&str>, limit: usize) -> Vec<IndexHit> {
        let Some(of_index) = self.index_entries.get(index) else {
            return Vec::new();
        };
        let from = (
            after.unwrap_or_default().to_owned(),
            Key::new(Table::ALL[0], ""),
        );
        let found = of_index
            .range(from..)
            .filter(|(sort, _)| after.is_none_or(|after| sort != after));
        found
            .take(limit)
            .map(|(sort, key)| IndexHit {
                sort: sort.clone(),
                key: key.clone(),
            })
            .collect()
    }

    fn take(&mut self, limit: usize, now: Timestamp, hidden_until: Timestamp) -> Vec<Message> {
        let mut messages = Vec::new();
        for (id, posted) in self
            .messages
            .iter_mut()
            .filter(|(_, posted)| !posted.is_dead && posted.hidden_until <= now)
        {
            if posted.deliveries >= DELIVERIES_MAX {
                posted.is_dead = true;
            } else if messages.len() < limit {
                posted.deliveries += 1;
                posted.hidden_until = hidden_until;
                messages.push(posted.message(*id));
            }
        }
        messages
    }

    fn post(&mut self, effect: Effect) {
        self.messages_ever += 1;
        let posted = StoredMessage {
            effect,
            hidden_until: Timestamp(0),
            deliveries: 0,
            is_dead: false,
        };
        self.messages.insert(MessageId(self.messages_ever), posted);
    }

    fn blob(&self, digest: &Digest) -> Result<&Arc<[u8]>, BlobError> {
        self.blobs.get(digest).ok_or(BlobError::Missing(*digest))
    }

    fn range(&self, digest: &Digest, range: &Range<u64>) -> Result<&[u8], BlobError> {
        let bytes = self.blob(digest)?;
        let out = || BlobError::OutOfRange {
            digest: *digest,
            range: range.clone(),
            size: bytes.len() as u64,
        };
        let (from, to) = (
            usize::try_from(range.start).map_err(|_| out())?,
            usize::try_from(range.end).map_err(|_| out())?,
        );
        bytes.get(from..to).ok_or_else(out)
    }

    fn keep(&mut self, bytes: Vec<u8>) -> (Digest, u64) {
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        self.blobs.entry(digest).or_insert_with(|| bytes.into());
        (digest, size)
    }
}

impl StateStore for MemoryStore {
    async fn load(&self, key: &Key) -> Result<Option<Record>, StateError> {
        self.state("load", |held| Ok(held.record(key))).await
    }

    async fn save(&self, commit: Commit) -> Result<(), SaveError> {
        check(&commit)?;
        let write = |held: &mut Contents| {
            if let Some(write) = commit.writes.iter().find(|write| !held.stands(write)) {
                return Err(SaveError::Conflict(write.key.clone()));
            }
            commit
                .writes
                .into_iter()
                .for_each(|write| held.apply(write));
            commit
                .effects
                .into_iter()
                .for_each(|effect| held.post(effect));
            Ok(())
        };
        self.with(
            "save",
            |problem| StateError::unavailable(problem).into(),
            write,
        )
        .await
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StateError> {
        self.state("list", |held| Ok(held.list(table, after, limit)))
            .await
    }

    async fn index_entries(
        &self,
        index: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IndexHit>, StateError> {
        self.state("index_entries", |held| {
            Ok(held.index_entries(index, after, limit))
        })
        .await
    }

    async fn take(
        &self,
        limit: usize,
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> Result<Vec<Message>, StateError> {
        self.state("take", |held| Ok(held.take(limit, now, hidden_until)))
            .await
    }

    async fn settle(&self, message: MessageId) -> Result<(), StateError> {
        let forget = |held: &mut Contents| {
            held.messages.remove(&message);
            Ok(())
        };
        self.state("settle", forget).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        let read = |held: &mut Contents| {
            let dead = held.messages.iter().filter(|(_, posted)| posted.is_dead);
            Ok(dead
                .take(limit)
                .map(|(id, posted)| posted.message(*id))
                .collect())
        };
        self.state("dead_letters", read).await
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        let read = |held: &mut Contents| {
            let out = held.messages.iter().filter(|(_, posted)| !posted.is_dead);
            Ok(out
                .take(limit)
                .map(|(id, posted)| posted.message(*id))
                .collect())
        };
        self.state("unsettled", read).await
    }

    async fn put_back(&self, message: MessageId, now: Timestamp) -> Result<bool, StateError> {
        let change = |held: &mut Contents| {
            let Some(posted) = held.messages.get_mut(&message) else {
                return Ok(false);
            };
            *posted = StoredMessage {
                effect: posted.effect.clone(),
                hidden_until: now,
                deliveries: 0,
                is_dead: false,
            };
            Ok(true)
        };
        self.state("put_back", change).await
    }
}

impl BlobStore for MemoryStore {
    async fn put(&self, bytes: Vec<u8>) -> Result<Digest, BlobError> {
        self.blob("put", |held| Ok(held.keep(bytes).0)).await
    }

    async fn put_file(&self, path: &Path) -> Result<(Digest, u64), BlobError> {
        let bytes = std::fs::read(path)?;
        self.blob("put_file", |held| Ok(held.keep(bytes))).await
    }

    async fn compose(&self, parts: &[Part]) -> Result<(Digest, u64), BlobError> {
        let put_together = |held: &mut Contents| {
            let mut bytes = Vec::new();
            for part in parts {
                match part {
                    Part::Bytes(piece) => bytes.extend_from_slice(piece),
                    Part::Blob { digest, range } => {
                        bytes.extend_from_slice(held.range(digest, range)?)
                    }
                }
            }
            Ok(held.keep(bytes))
        };
        self.blob("compose", put_together).await
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.blob("size", |held| {
            Ok(held.blobs.get(digest).map(|bytes| bytes.len() as u64))
        })
        .await
    }

    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        self.blob("read", |held| {
            held.range(digest, &range).map(<[u8]>::to_vec)
        })
        .await
    }

    async fn fetch(&self, digest: &Digest, to: &Path) -> Result<(), BlobError> {
        let bytes = self
            .blob("fetch", |held| held.blob(digest).cloned())
            .await?;
        let mut file = std::fs::File::create_new(to)?;
        Ok(std::io::Write::write_all(&mut file, &bytes)?)
    }

    async fn pointer(&self, name: &str) -> Result<Option<(Vec<u8>, PointerVersion)>, BlobError> {
        let read = |held: &mut Contents| {
            let found = held.pointers.get(name);
            Ok(found.map(|(version, bytes)| (bytes.clone(), PointerVersion(version.to_string()))))
        };
        self.blob("pointer", read).await
    }

    async fn swap(
        &self,
        name: &str,
        expected: Option<&PointerVersion>,
        bytes: Vec<u8>,
    ) -> Result<PointerVersion, SwapError> {
        crate::blob::check_pointer(name, &bytes)?;
        let swap = |held: &mut Contents| {
            let found = held.pointers.get(name).map(|(version, _)| *version);
            if found.map(|version| version.to_string()) != expected.map(|version| version.0.clone())
            {
                return Err(SwapError::Conflict(name.to_owned()));
            }
            let version = found.unwrap_or(0) + 1;
            held.pointers.insert(name.to_owned(), (version, bytes));
            Ok(PointerVersion(version.to_string()))
        };
        self.with("swap", |problem| away(problem).into(), swap)
            .await
    }
}
