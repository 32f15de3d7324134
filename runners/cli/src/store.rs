//! The stores that a command works on: those of this machine, or those of a line in the cloud.

use millrace_core::{Digest, Timestamp};
use millrace_store::local::LocalStore;
use millrace_store::{
    Address, BlobError, BlobStore, Commit, IndexHit, Key, Message, MessageId, Part, PointerVersion,
    Record, SaveError, StateError, StateStore, SwapError, Table,
};
#[cfg(feature = "cloud")]
use millrace_store::{dynamodb::DynamoDb, s3::S3};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// Both ports of a line.
#[derive(Debug, Clone)]
pub enum Store {
    /// In the state folder.
    Here(LocalStore),
    /// In a table and a bucket.
    #[cfg(feature = "cloud")]
    Cloud(DynamoDb, S3),
}

impl Store {
    /// Whether it is that of a line in the cloud.
    pub(crate) const fn is_in_cloud(&self) -> bool {
        !matches!(self, Self::Here(_))
    }

    /// Whether a line works on it: in the cloud one always does.
    pub(crate) fn is_worked_on(&self) -> bool {
        match self {
            // A process that gets the lock is alone; it is given back at once.
            Self::Here(store) => store.lock().is_err(),
            #[cfg(feature = "cloud")]
            Self::Cloud(..) => true,
        }
    }
}

/// Hands a call to whichever store has records.
macro_rules! state {
    ($store:expr, $it:ident => $call:expr) => {
        match $store {
            Store::Here($it) => $call.await,
            #[cfg(feature = "cloud")]
            Store::Cloud($it, _) => $call.await,
        }
    };
}

/// Hands a call to whichever store has blobs.
macro_rules! blobs {
    ($store:expr, $it:ident => $call:expr) => {
        match $store {
            Store::Here($it) => $call.await,
            #[cfg(feature = "cloud")]
            Store::Cloud(_, $it) => $call.await,
        }
    };
}

impl StateStore for Store {
    async fn load(&self, key: &Key) -> Result<Option<Record>, StateError> {
        state!(self, it => it.load(key))
    }

    async fn save(&self, commit: Commit) -> Result<(), SaveError> {
        state!(self, it => it.save(commit))
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StateError> {
        state!(self, it => it.list(table, after, limit))
    }

    async fn index_entries(
        &self,
        index: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IndexHit>, StateError> {
        state!(self, it => it.index_entries(index, after, limit))
    }

    async fn take(
        &self,
        limit: usize,
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> Result<Vec<Message>, StateError> {
        state!(self, it => it.take(limit, now, hidden_until))
    }

    async fn settle(&self, message: MessageId) -> Result<(), StateError> {
        state!(self, it => it.settle(message))
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        state!(self, it => it.dead_letters(limit))
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        state!(self, it => it.unsettled(limit))
    }

    async fn put_back(&self, message: MessageId, now: Timestamp) -> Result<bool, StateError> {
        state!(self, it => it.put_back(message, now))
    }
}

impl BlobStore for Store {
    async fn put(&self, bytes: Vec<u8>) -> Result<Digest, BlobError> {
        blobs!(self, it => it.put(bytes))
    }

    async fn put_file(&self, path: &Path) -> Result<(Digest, u64), BlobError> {
        blobs!(self, it => it.put_file(path))
    }

    async fn compose(&self, parts: &[Part]) -> Result<(Digest, u64), BlobError> {
        blobs!(self, it => it.compose(parts))
    }

    async fn size(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        blobs!(self, it => it.size(digest))
    }

    async fn read(&self, digest: &Digest, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        blobs!(self, it => it.read(digest, range))
    }

    async fn fetch(&self, digest: &Digest, to: &Path) -> Result<(), BlobError> {
        blobs!(self, it => it.fetch(digest, to))
    }

    async fn read_address(
        &self,
        digest: &Digest,
        valid: Duration,
        name: Option<&str>,
    ) -> Result<Option<Address>, BlobError> {
        blobs!(self, it => it.read_address(digest, valid, name))
    }

    async fn write_address(
        &self,
        digest: &Digest,
        size: u64,
        valid: Duration,
    ) -> Result<Option<Address>, BlobError> {
        blobs!(self, it => it.write_address(digest, size, valid))
    }

    async fn pointer(&self, name: &str) -> Result<Option<(Vec<u8>, PointerVersion)>, BlobError> {
        blobs!(self, it => it.pointer(name))
    }

    async fn swap(
        &self,
        name: &str,
        expect: Option<&PointerVersion>,
        bytes: Vec<u8>,
    ) -> Result<PointerVersion, SwapError> {
        blobs!(self, it => it.swap(name, expect, bytes))
    }
}
