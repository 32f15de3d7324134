//! Records, index entries and messages in one DynamoDB table: a commit is one `TransactWriteItems` (Amazon DynamoDB API Reference).
//!
//! | item | `pk` | `sk` | besides |
//! |---|---|---|---|
//! | record | `record/` and its kind | its id | `version`; `by`, a number of its writer alone; `body`, a text or one packed by zlib, which is gone once it is removed; `index_entries`, those that it has; `late`, those whose items are still to be removed |
//! | index entry | `mark/` and its index | its place, kind and id of its record, a zero byte between | `kind`, `id`, `sort` |
//! | message | `letter` | its number, 20 digits | `effect`, `kind`, `deliveries`; `tray`: `out` or `aside`; `due` |
//!
//! The index `due` has the messages of a tray in the order in which they are due. Everything else is read strongly.

mod body;
mod messages;
mod records;
mod restore;
mod table;

use crate::state::{
    Commit, IndexHit, Key, Message, MessageId, Record, SaveError, StateError, StateStore, Table,
    check,
};
use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_core::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use messages::posted;
pub use table::CreateError;

impl DynamoDb {
    /// A message as it is now (strongly consistent); none once it is settled. It may be a dead letter.
    pub async fn message(&self, id: MessageId) -> Result<Option<Message>, StateError> {
        self.load_message(id).await
    }
}

/// Attributes by their names.
type Item = HashMap<String, AttributeValue>;

/// One table. Clones share their connections.
#[derive(Debug, Clone)]
pub struct DynamoDb {
    client: Client,
    table: Arc<str>,
    /// The last number that this process gave to a message.
    numbers: Arc<AtomicU64>,
}

impl DynamoDb {
    /// The table of this name, which must be there: the cloud template makes it, or [`DynamoDb::create`].
    pub fn open(config: &SdkConfig, table: &str) -> Self {
        Self {
            client: Client::new(config),
            table: table.into(),
            numbers: Arc::default(),
        }
    }
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn place(pk: &str, sk: &str) -> Item {
    item([("pk", text(pk)), ("sk", text(sk))])
}

fn get_text<'a>(item: &'a Item, name: &str) -> Result<&'a str, StateError> {
    let found = item.get(name).and_then(|value| value.as_s().ok());
    found
        .map(String::as_str)
        .ok_or_else(|| StateError::corrupt(format!("an item without a text `{name}`")))
}

fn get_number(item: &Item, name: &str) -> Result<u64, StateError> {
    let found = item
        .get(name)
        .and_then(|value| value.as_n().ok())
        .and_then(|digits| digits.parse().ok());
    found.ok_or_else(|| StateError::corrupt(format!("an item without a number `{name}`")))
}

/// Trouble of the service or on the way to it.
fn unavailable<E, R>(error: SdkError<E, R>) -> StateError
where
    E: std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    StateError::unavailable(error)
}

impl StateStore for DynamoDb {
    async fn load(&self, key: &Key) -> Result<Option<Record>, StateError> {
        self.load_record(key).await
    }

    async fn save(&self, commit: Commit) -> Result<(), SaveError> {
        check(&commit)?;
        self.save_whole(&commit).await
    }

    async fn list(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StateError> {
        self.list_records(table, after, limit).await
    }

    async fn index_entries(
        &self,
        index: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IndexHit>, StateError> {
        self.find_entries(index, after, limit).await
    }

    async fn take(
        &self,
        limit: usize,
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> Result<Vec<Message>, StateError> {
        self.take_messages(limit, now, hidden_until).await
    }

    async fn settle(&self, message: MessageId) -> Result<(), StateError> {
        self.settle_message(message).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.dead_messages(limit).await
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.messages_out(limit).await
    }

    async fn put_back(&self, message: MessageId, now: Timestamp) -> Result<bool, StateError> {
        self.put_message_back(message, now).await
    }
}
