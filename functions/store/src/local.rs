//! Both ports on one machine: records in SQLite, blobs as files. Survives `kill -9` at any moment.

mod blobs;
mod records;

use rusqlite::{Connection, ErrorCode, OptionalExtension};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a process waits for another one's write, which takes some milliseconds.
const BUSY: Duration = Duration::from_secs(10);

/// The pause between two tries where nobody waits by himself.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The layout that this program reads and writes; grows with every change that an older program could not read.
const SCHEMA: i64 = 1;

/// Index entries lie in the table `mark`, messages in the table `letter`, dead letters are those `set_aside`: state folders of earlier
/// versions have these names.
const CREATE: &str = "
CREATE TABLE record (tbl TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, body TEXT, PRIMARY KEY (tbl, id)) WITHOUT ROWID;
CREATE TABLE mark (idx TEXT NOT NULL, sort TEXT NOT NULL, tbl TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (idx, sort, tbl, id)) WITHOUT ROWID;
CREATE INDEX mark_of_record ON mark (tbl, id);
CREATE TABLE letter (id INTEGER PRIMARY KEY AUTOINCREMENT, effect TEXT NOT NULL, hidden_until INTEGER NOT NULL DEFAULT 0,
                     deliveries INTEGER NOT NULL DEFAULT 0, set_aside INTEGER NOT NULL DEFAULT 0);
CREATE INDEX letter_due ON letter (hidden_until) WHERE set_aside = 0;
CREATE TABLE pointer (name TEXT PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
";

/// A state folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Permissions, disk: the message says which file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        source: io::Error,
    },
    /// The database does not open.
    #[error("{}: {source}", path.display())]
    Database {
        path: PathBuf,
        source: rusqlite::Error,
    },
    /// A newer millrace has written here.
    #[error("{} has layout {found}, and this millrace reads up to {SCHEMA}: use the newer one", path.display())]
    Newer { path: PathBuf, found: i64 },
    /// Another process runs a line over this folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
}

/// Records in `state.db`, blobs in `blobs/`. Clones share one connection; other processes may open the same folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    folder: Arc<Path>,
    database: Arc<Mutex<Connection>>,
}

/// The right to run a line over a folder, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl LocalStore {
    /// Opens the stores in a folder; makes them if they are not there.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        blobs::prepare(folder)?;
        blobs::sweep(folder);
        let path = folder.join("state.db");
        let database = connect(&path).map_err(|source| OpenError::Database {
            path: path.clone(),
            source,
        })?;
        let found = layout(&database).map_err(|source| OpenError::Database {
            path: path.clone(),
            source,
        })?;
        if found > SCHEMA {
            return Err(OpenError::Newer { path, found });
        }
        Ok(Self {
            folder: folder.into(),
            database: Arc::new(Mutex::new(database)),
        })
    }

    /// Takes the right to run a line over this folder; `InUse` if another process has it. The kernel takes it back when the
    /// process ends, however it ends.
    pub fn lock(&self) -> Result<Lock, OpenError> {
        let path = self.folder.join("up.lock");
        let open = || {
            File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
        };
        let file = open().map_err(|source| OpenError::Io {
            path: path.clone(),
            source,
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(OpenError::InUse(self.folder.to_path_buf()))
            }
            Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
        }
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    // Readers do not wait for the writer, and a commit is on the disk when it returns.
    wait_while_busy(|| database.pragma_update(None, "journal_mode", "WAL"))?;
    database.pragma_update(None, "synchronous", "FULL")?;
    let create = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if layout(&create)? == 0 {
        create.execute_batch(CREATE)?;
        create.pragma_update(None, "user_version", SCHEMA)?;
    }
    create.commit()?;
    Ok(database)
}

/// Tries something until it is not in others' way: two who change a new database's journal at once are refused without waiting,
/// whatever [`BUSY`] says.
fn wait_while_busy(change: impl Fn() -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    let end = Instant::now() + BUSY;
    loop {
        match change() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < end =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            done => return done,
        }
    }
}

fn layout(database: &Connection) -> rusqlite::Result<i64> {
    Ok(database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// Runs something that waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(what)
        .await
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What only a power cut would show, and no test can make one.
    #[test]
    fn a_commit_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let ask = |name| {
            store
                .database()
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .unwrap()
        };
        assert_eq!(ask("journal_mode"), "wal".to_owned().into());
        assert_eq!(ask("synchronous"), 2.into(), "2 is FULL");
    }
}
