//! The port for small records: read strongly, write all or nothing under conditions, together with an outbox.

use millrace_core::Timestamp;
use millrace_core::order::Effect;
use std::collections::BTreeSet;
use std::error::Error;
use std::future::Future;

/// Largest record, in bytes of JSON: DynamoDB takes items of at most 400 KB (Amazon DynamoDB Developer Guide, "Quotas"), names and
/// index entries included.
pub const RECORD_BYTES_MAX: usize = 380 * 1024;

/// Most writes and messages in one commit: DynamoDB's TransactWriteItems takes 100 actions.
pub const COMMIT_WRITES_MAX: usize = 100;

/// Most bytes in the records and effects of one commit: TransactWriteItems takes 4 MB, keys and index entries included.
pub const COMMIT_BYTES_MAX: usize = 3_900_000;

/// Times that an effect is delivered before its message is a dead letter, which waits for a person: passing trouble is over by then, and what is
/// wrong for good does not circle.
pub const DELIVERIES_MAX: u32 = 10;

/// Kinds of records. Each has ids of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `millrace_core::build::Build` by build id.
    Build,
    /// `millrace_core::ownership::Claim` by target and name.
    Claim,
    /// `millrace_core::hold::Hold` by build, task and lease.
    Hold,
    /// When the holder of a lease was last heard of, by build, task and lease.
    Lease,
    /// `millrace_core::log::LogIndex` by build, task and lease.
    Log,
    /// Orders to the signer and the releaser by their ids; never changed, and kept.
    Order,
    /// `runner_status::LastAsk` by the runner's name; stores have had the word `machine` for it from the first version on.
    LastAsk,
    /// `millrace_core::push::Package` by name.
    Package,
    Platform,
    Plugin,
    /// `millrace_core::push::PushRecord` by push id.
    Push,
    Runner,
    /// What goes to and fro in a session of a hold, by hold, session and direction.
    Session,
    /// What has no kind of its own.
    Setting,
}

impl Table {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Build,
        Self::Claim,
        Self::Hold,
        Self::Lease,
        Self::Log,
        Self::LastAsk,
        Self::Order,
        Self::Package,
        Self::Platform,
        Self::Plugin,
        Self::Push,
        Self::Runner,
        Self::Session,
        Self::Setting,
    ];

    /// As stores spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Claim => "claim",
            Self::Hold => "hold",
            Self::Lease => "lease",
            Self::Log => "log",
            Self::LastAsk => "machine",
            Self::Order => "order",
            Self::Package => "package",
            Self::Platform => "platform",
            Self::Plugin => "plugin",
            Self::Push => "push",
            Self::Runner => "runner",
            Self::Session => "session",
            Self::Setting => "setting",
        }
    }
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub table: Table,
    /// Its id among its kind.
    pub id: String,
}

impl Key {
    /// The key of a record.
    pub fn new(table: Table, id: impl Into<String>) -> Self {
        Self {
            table,
            id: id.into(),
        }
    }
}

/// Number of a record's state. Grows with every write of the record, through its removal and its coming back too, so that a
/// write that is based on an older state is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: Key,
    /// Which state of it this is.
    pub version: Version,
    /// JSON.
    pub body: String,
}

/// An entry in an index of the caller's making: records carry index entries, and [`StateStore::index_entries`] finds them in the order of
/// `sort`. A write of a record replaces all of its index entries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntry {
    /// Name of the index, for example `ready/x86_64`.
    pub index: String,
    /// Place in it; unique within the index for each record.
    pub sort: String,
}

/// An index entry that was found, and the record that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexHit {
    /// Place in the index.
    pub sort: String,
    pub key: Key,
}

/// On what condition a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is none yet.
    Absent,
    /// It is still as it was read.
    Version(Version),
}

/// One record to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: Key,
    pub expect: Expect,
    /// JSON, at most [`RECORD_BYTES_MAX`]; none removes the record and its index entries.
    pub body: Option<String>,
    /// All index entries that it has from now on.
    pub index_entries: Vec<IndexEntry>,
}

impl Write {
    /// Removes a record that is still as it was read.
    pub const fn removal(key: Key, version: Version) -> Self {
        Self {
            key,
            expect: Expect::Version(version),
            body: None,
            index_entries: Vec::new(),
        }
    }
}

/// Writes and effects that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    pub writes: Vec<Write>,
    /// What shall happen because of them.
    pub effects: Vec<Effect>,
}

impl Commit {
    /// How many items of a table it writes: a record, an index entry and an effect are one each.
    pub(crate) fn actions(&self) -> usize {
        let entries = self.writes.iter().map(|write| write.index_entries.len());
        self.writes.len() + self.effects.len() + entries.sum::<usize>()
    }
}

impl From<Write> for Commit {
    fn from(write: Write) -> Self {
        Self {
            writes: vec![write],
            effects: Vec::new(),
        }
    }
}

/// Names an effect in the outbox. Grows; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId(pub u64);

/// An effect on its way. Delivered until it is settled, so perhaps more than once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    pub effect: Effect,
    /// How often it was delivered, this time included.
    pub deliveries: u32,
}

impl Message {
    /// Whether it was delivered as often as a message may be: a caller that cannot act on it now gives it up.
    pub const fn is_last(&self) -> bool {
        self.deliveries >= DELIVERIES_MAX
    }

    /// Whether this program knows what it asks for.
    pub const fn is_readable(&self) -> bool {
        !matches!(self.effect, Effect::Unreadable(_))
    }

    /// What those who wait for its effect are told when it is given up because of this.
    pub fn given_up(problem: &str) -> String {
        format!("{problem} (given up after {DELIVERIES_MAX} deliveries)")
    }
}

/// What made a store fail.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The store did not answer as it should. Its texts do not say the cause: [`chain()`](crate::chain()) does.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Passing: disk full, network gone, locked. A retry may help.
    #[error("the state store does not answer")]
    Unavailable(#[source] Cause),
    /// What it holds cannot be read; a person must look.
    #[error("the state store holds what cannot be read: {what}")]
    Corrupt {
        what: String,
        /// Why, if there is more to say.
        source: Option<Cause>,
    },
    /// A commit of a shape that not every store takes; the caller must make another one, a retry does not help.
    #[error("no store takes this commit")]
    Unfit(#[source] Cause),
}

impl StateError {
    /// Passing trouble.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// Something is not as the store writes it.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt {
            what: what.into(),
            source: None,
        }
    }

    /// Something cannot be read, or written, for this cause.
    pub fn unreadable(what: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::Corrupt {
            what: what.into(),
            source: Some(cause.into()),
        }
    }
}

/// A commit that was not made; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Somebody else wrote first: load again, decide again.
    #[error("{} was changed by somebody else", .0.id)]
    Conflict(Key),
    /// A record or an effect larger than the store takes; the caller must make it smaller.
    #[error("{what} is {bytes} bytes, at most {RECORD_BYTES_MAX} fit")]
    TooLarge { what: String, bytes: usize },
    #[error(transparent)]
    State(#[from] StateError),
}

/// Keeps small records.
pub trait StateStore: Clone + Send + Sync + 'static {
    /// Reads a record as it is now (strongly consistent).
    fn load(&self, key: &Key) -> impl Future<Output = Result<Option<Record>, StateError>> + Send;

    /// Makes all writes and puts all effects into the outbox, or does nothing. Durable when it returns.
    fn save(&self, commit: Commit) -> impl Future<Output = Result<(), SaveError>> + Send;

    /// Records of a kind in the order of their ids, after `after`.
    fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Record>, StateError>> + Send;

    /// Index entries of an index in their order, after `after`. May be a moment old: load the record before deciding on it.
    fn index_entries(
        &self,
        index: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<IndexHit>, StateError>> + Send;

    /// Takes messages that nobody else has taken, the oldest first as far as the clocks of those who wrote them agree, and hides
    /// them until `hidden_until`. One that is not settled by then is delivered again. One delivered [`DELIVERIES_MAX`] times becomes a dead
    /// letter instead, at the latest when nothing else is due; so does one that cannot be read, at once.
    fn take(
        &self,
        limit: usize,
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> impl Future<Output = Result<Vec<Message>, StateError>> + Send;

    /// Forgets a message whose effect has happened. Forgetting it twice does no harm.
    fn settle(&self, message: MessageId) -> impl Future<Output = Result<(), StateError>> + Send;

    /// Messages that are delivered no more, and wait for a person.
    fn dead_letters(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Message>, StateError>> + Send;

    /// Messages that are neither settled nor dead letters, whether or not somebody has taken them. May be a moment old.
    fn unsettled(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Message>, StateError>> + Send;

    /// Makes a message due from `now` on, as if it had never been delivered, wherever it lies; false if it is settled.
    fn put_back(
        &self,
        message: MessageId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StateError>> + Send;
}

/// Refuses a commit that not every store takes: too many writes, a record or an effect too large (each effect is an item of the outbox), or
/// a record written twice. TransactWriteItems refuses the last, and nobody could say which of the two would win.
pub(crate) fn check(commit: &Commit) -> Result<(), SaveError> {
    let actions = commit.actions();
    if actions > COMMIT_WRITES_MAX {
        return Err(StateError::Unfit(
            format!("it has {actions} writes, at most {COMMIT_WRITES_MAX} fit").into(),
        )
        .into());
    }
    let (mut keys, mut all) = (BTreeSet::new(), 0);
    for write in &commit.writes {
        if !keys.insert(&write.key) {
            return Err(StateError::Unfit(
                format!(
                    "it writes {} `{}` twice",
                    write.key.table.as_str(),
                    write.key.id
                )
                .into(),
            )
            .into());
        }
        let bytes = write.body.as_ref().map_or(0, String::len);
        if bytes > RECORD_BYTES_MAX {
            return Err(SaveError::TooLarge {
                what: write.key.id.clone(),
                bytes,
            });
        }
        all += bytes;
    }
    for effect in &commit.effects {
        let bytes = serde_json::to_vec(effect)
            .map_err(|error| StateError::unreadable("an effect", error))?
            .len();
        if bytes > RECORD_BYTES_MAX {
            return Err(SaveError::TooLarge {
                what: "an effect".to_owned(),
                bytes,
            });
        }
        all += bytes;
    }
    if all > COMMIT_BYTES_MAX {
        return Err(StateError::Unfit(
            format!("it has {all} bytes, at most {COMMIT_BYTES_MAX} fit").into(),
        )
        .into());
    }
    Ok(())
}
