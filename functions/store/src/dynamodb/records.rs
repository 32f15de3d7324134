//! Records and their index entries.

use super::body::{BODY, packed, unpacked};
use super::{DynamoDb, Item, get_number, get_text, item, number, place, text, unavailable};
use crate::state::{
    COMMIT_WRITES_MAX, Commit, Expect, IndexEntry, IndexHit, Key, Record, SaveError, StateError,
    Table, Version, Write,
};
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a commit that crosses others is tried again. Each time one of those that cross gets through, so this is many times
/// what the largest crowd on one record takes.
const CROSSING_MAX: Duration = Duration::from_secs(30);

/// The longest pause of a commit that crossed another, before jitter.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// What sorts behind the zero byte that ends an index entry's place.
const BEHIND: char = '\u{1}';

fn partition(table: Table) -> String {
    format!("record/{}", table.as_str())
}

/// Tables have had this name, and the attribute `marks`, from the first version on, when an index entry was called a mark.
fn index_partition(index: &str) -> String {
    format!("mark/{index}")
}

/// An index entry as an item: where it lies, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct EntryItem {
    entry: IndexEntry,
    key: Key,
}

impl EntryItem {
    fn place(&self) -> Item {
        let Self {
            entry: IndexEntry { index, sort },
            key,
        } = self;
        place(
            &index_partition(index),
            &format!("{sort}\0{}\0{}", key.table.as_str(), key.id),
        )
    }

    fn item(&self) -> Item {
        let mut made = self.place();
        let Self { entry, key } = self;
        made.extend(item([
            ("kind", text(key.table.as_str())),
            ("id", text(&key.id)),
            ("sort", text(&entry.sort)),
        ]));
        made
    }
}

/// The item of a record as it is stored.
#[derive(Debug, Default)]
struct StoredItem {
    /// Its last version; none if there never was one.
    version: Option<u64>,
    /// Whether there is one, and not only the memory of one that was removed.
    stands: bool,
    /// Index entries that it has.
    index_entries: BTreeSet<IndexEntry>,
    /// Index entries that it no longer has, and whose items there may be all the same.
    late: BTreeSet<IndexEntry>,
}

impl StoredItem {
    fn read(found: Option<Item>) -> Result<Self, StateError> {
        let Some(found) = found else {
            return Ok(Self::default());
        };
        Ok(Self {
            version: Some(get_number(&found, "version")?),
            stands: found.contains_key(BODY),
            index_entries: get_entries(&found, "marks")?,
            late: get_entries(&found, "late")?,
        })
    }

    fn meets(&self, expect: Expect) -> bool {
        match expect {
            Expect::Absent => !self.stands,
            Expect::Version(version) => self.stands && self.version == Some(version.0),
        }
    }
}

fn get_entries(found: &Item, name: &str) -> Result<BTreeSet<IndexEntry>, StateError> {
    let mut index_entries = BTreeSet::new();
    for pair in found
        .get(name)
        .and_then(|index_entries| index_entries.as_l().ok())
        .into_iter()
        .flatten()
    {
        let Some([AttributeValue::S(index), AttributeValue::S(sort)]) =
            pair.as_l().ok().map(Vec::as_slice)
        else {
            return Err(StateError::corrupt("a record with odd index entries"));
        };
        index_entries.insert(IndexEntry {
            index: index.clone(),
            sort: sort.clone(),
        });
    }
    Ok(index_entries)
}

/// Says so in a record's item, if there are any.
fn set_entries(made: &mut Item, name: &str, index_entries: &BTreeSet<IndexEntry>) {
    if !index_entries.is_empty() {
        let pair =
            |entry: &IndexEntry| AttributeValue::L(vec![text(&entry.index), text(&entry.sort)]);
        made.insert(
            name.to_owned(),
            AttributeValue::L(index_entries.iter().map(pair).collect()),
        );
    }
}

/// A commit that was not made this time.
enum WriteFailure {
    /// Something changed between reading and writing: the next reading shows what.
    Crossed,
    Save(SaveError),
}

impl<E: Into<SaveError>> From<E> for WriteFailure {
    fn from(error: E) -> Self {
        Self::Save(error.into())
    }
}

impl From<BuildError> for StateError {
    fn from(error: BuildError) -> Self {
        Self::Unfit(error.into())
    }
}

impl From<BuildError> for SaveError {
    fn from(error: BuildError) -> Self {
        Self::State(error.into())
    }
}

impl DynamoDb {
    pub(super) async fn load_record(&self, key: &Key) -> Result<Option<Record>, StateError> {
        self.get(key)
            .await?
            .filter(|found| found.contains_key(BODY))
            .map(|found| record(key.table, &found))
            .transpose()
    }

    async fn get(&self, key: &Key) -> Result<Option<Item>, StateError> {
        let get = self
            .client
            .get_item()
            .table_name(&*self.table)
            .consistent_read(true);
        let found = get
            .set_key(Some(place(&partition(key.table), &key.id)))
            .send()
            .await
            .map_err(unavailable)?;
        Ok(found.item)
    }

    pub(super) async fn list_records(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Record>, StateError> {
        let query = self
            .after(&partition(table), after)
            .filter_expression(format!("attribute_exists({BODY})"));
        self.pages(query, limit)
            .await?
            .iter()
            .map(|found| record(table, found))
            .collect()
    }

    pub(super) async fn find_entries(
        &self,
        index: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IndexHit>, StateError> {
        let after = after.map(|after| format!("{after}{BEHIND}"));
        let found = self
            .pages(self.after(&index_partition(index), after.as_deref()), limit)
            .await?;
        let hit = |found: &Item| {
            let kind = get_text(found, "kind")?;
            let table = Table::ALL.into_iter().find(|table| table.as_str() == kind);
            let table = table.ok_or_else(|| {
                StateError::corrupt(format!("an index entry of the unknown table `{kind}`"))
            })?;
            Ok(IndexHit {
                sort: get_text(found, "sort")?.to_owned(),
                key: Key::new(table, get_text(found, "id")?),
            })
        };
        found.iter().map(hit).collect()
    }

    /// What lies in a partition after a place.
    fn after(&self, partition: &str, after: Option<&str>) -> QueryFluentBuilder {
        let query = self
            .client
            .query()
            .consistent_read(true)
            .expression_attribute_values(":pk", text(partition));
        match after {
            None => query.key_condition_expression("pk = :pk"),
            Some(after) => query
                .key_condition_expression("pk = :pk AND sk > :after")
                .expression_attribute_values(":after", text(after)),
        }
    }

    /// The first of what a query finds, through as many of its pages as that takes.
    pub(super) async fn pages(
        &self,
        query: QueryFluentBuilder,
        limit: usize,
    ) -> Result<Vec<Item>, StateError> {
        let (mut found, mut from) = (Vec::new(), None);
        while found.len() < limit {
            let query = query
                .clone()
                .table_name(&*self.table)
                .set_exclusive_start_key(from);
            let page = query
                .set_limit(i32::try_from(limit - found.len()).ok())
                .send()
                .await
                .map_err(unavailable)?;
            found.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(found)
    }

    pub(super) async fn save_whole(&self, commit: &Commit) -> Result<(), SaveError> {
        if commit.writes.is_empty() && commit.effects.is_empty() {
            return Ok(());
        }
        if let ([write], []) = (&commit.writes[..], &commit.effects[..])
            && self.save_unseen(write).await?
        {
            return Ok(());
        }
        let (began, mut pause) = (Instant::now(), Duration::from_millis(5));
        loop {
            match self.save_once(commit).await {
                Ok(()) => return Ok(()),
                Err(WriteFailure::Save(error)) => return Err(error),
                Err(WriteFailure::Crossed) if began.elapsed() > CROSSING_MAX => {
                    let crowd = "others write the same, again and again";
                    return Err(StateError::unavailable(crowd).into());
                }
                Err(WriteFailure::Crossed) => {
                    tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Writes a record without index entries over one without index entries, and does not read it before: of those its version says all. Answers
    /// whether it was so; if it was not, nothing was written. What is written most often is of this kind, leases and logs.
    async fn save_unseen(&self, write: &Write) -> Result<bool, SaveError> {
        let Some(body) = write
            .body
            .as_ref()
            .filter(|_| write.index_entries.is_empty())
        else {
            return Ok(false);
        };
        let put = self.put();
        let (put, version) = match write.expect {
            Expect::Absent => (put.condition_expression("attribute_not_exists(pk)"), 0),
            Expect::Version(Version(version)) => {
                let same = format!(
                    "version = :version AND attribute_exists({BODY}) AND attribute_not_exists(marks) AND attribute_not_exists(late)"
                );
                (
                    put.condition_expression(same)
                        .expression_attribute_values(":version", number(version)),
                    version,
                )
            }
        };
        let mut made = place(&partition(write.key.table), &write.key.id);
        made.extend(item([
            ("version", number(version + 1)),
            (BODY, packed(body)),
        ]));
        match self.put_alone(&put.set_item(Some(made)).build()?).await {
            Ok(()) => Ok(true),
            Err(WriteFailure::Crossed) => Ok(false),
            Err(WriteFailure::Save(error)) => Err(error),
        }
    }

    /// Reads what is there, and makes the commit on the condition that it is still so.
    async fn save_once(&self, commit: &Commit) -> Result<(), WriteFailure> {
        let mut actions = Actions::default();
        let mut stored = Vec::with_capacity(commit.writes.len());
        for write in &commit.writes {
            let found = StoredItem::read(self.get(&write.key).await?)?;
            if !found.meets(write.expect) {
                return Err(SaveError::Conflict(write.key.clone()).into());
            }
            stored.push(found);
        }
        let mut room = COMMIT_WRITES_MAX.saturating_sub(commit.actions());
        for (write, stored) in commit.writes.iter().zip(stored) {
            self.write(write, stored, &mut room, &mut actions)?;
        }
        for (number, effect) in self.numbers(commit.effects.len()).zip(&commit.effects) {
            actions.put(
                self.put()
                    .set_item(Some(Self::new_message(number, effect)?))
                    .condition_expression("attribute_not_exists(pk)"),
            )?;
        }
        if let [action] = &actions.all[..]
            && let Some(put) = action.put()
        {
            // The half of what a transaction costs, and leases are renewed often.
            return self.put_alone(put).await;
        }
        match self
            .client
            .transact_write_items()
            .set_transact_items(Some(actions.all))
            .send()
            .await
        {
            Ok(_) => {}
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled))
                    if cancelled
                        .cancellation_reasons()
                        .iter()
                        .all(|reason| is_passing(reason.code())) =>
                {
                    return Err(WriteFailure::Crossed);
                }
                Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
                    return Err(WriteFailure::Crossed);
                }
                Some(_) | None => return Err(unavailable(error).into()),
            },
        }
        for late in actions.late {
            // Where this fails, or somebody has written the record by now: it knows them, and its next write removes them.
            let _ = self.remove_late(late).await;
        }
        Ok(())
    }

    /// Writes one record and nothing else. A transaction that is tried again, since its answer was lost, is known by its token; this
    /// one by a number of its own that it leaves in the record.
    async fn put_alone(&self, put: &Put) -> Result<(), WriteFailure> {
        let mut item = put.item().clone();
        item.insert("by".to_owned(), number(fastrand::u64(..)));
        let call = self
            .client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(item.clone()))
            .set_condition_expression(put.condition_expression().map(str::to_owned))
            .set_expression_attribute_values(put.expression_attribute_values().cloned())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let error = match call.send().await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed))
                if failed.item() == Some(&item) =>
            {
                Ok(())
            }
            Some(
                PutItemError::ConditionalCheckFailedException(_)
                | PutItemError::TransactionConflictException(_),
            ) => Err(WriteFailure::Crossed),
            Some(_) | None => Err(unavailable(error).into()),
        }
    }

    /// Removes items of index entries that a record no longer has, as long as it is as it was written: the next writer may want them back.
    async fn remove_late(
        &self,
        LateEntries {
            key,
            version,
            index_entries,
        }: LateEntries,
    ) -> Result<(), StateError> {
        for some in index_entries.chunks(COMMIT_WRITES_MAX - 1) {
            let same = ConditionCheck::builder()
                .table_name(&*self.table)
                .set_key(Some(place(&partition(key.table), &key.id)))
                .condition_expression("version = :version")
                .expression_attribute_values(":version", number(version))
                .build()?;
            let mut all = vec![TransactWriteItem::builder().condition_check(same).build()];
            for placed in some {
                all.push(self.removal(placed)?);
            }
            self.client
                .transact_write_items()
                .set_transact_items(Some(all))
                .send()
                .await
                .map_err(unavailable)?;
        }
        Ok(())
    }

    fn removal(&self, placed: &EntryItem) -> Result<TransactWriteItem, StateError> {
        let delete = Delete::builder()
            .table_name(&*self.table)
            .set_key(Some(placed.place()))
            .build()?;
        Ok(TransactWriteItem::builder().delete(delete).build())
    }

    /// One write's actions. Index entries that it no longer has are removed with it as far as a transaction has room for that.
    fn write(
        &self,
        write: &Write,
        stored: StoredItem,
        room: &mut usize,
        actions: &mut Actions,
    ) -> Result<(), StateError> {
        // A record that is gone has no index entries.
        let wanted: BTreeSet<IndexEntry> = if write.body.is_some() {
            write.index_entries.iter().cloned().collect()
        } else {
            BTreeSet::new()
        };
        let placed = |entry: &IndexEntry| EntryItem {
            entry: entry.clone(),
            key: write.key.clone(),
        };
        for entry in wanted.difference(&stored.index_entries) {
            actions.put(self.put().set_item(Some(placed(entry).item())))?;
        }
        let unwanted: Vec<&IndexEntry> = stored
            .index_entries
            .union(&stored.late)
            .filter(|entry| !wanted.contains(entry))
            .collect();
        let (now, late) = unwanted.split_at(unwanted.len().min(*room));
        *room -= now.len();
        for entry in now {
            actions.all.push(self.removal(&placed(entry))?);
        }
        let version = stored.version.unwrap_or_default() + 1;
        let mut made = place(&partition(write.key.table), &write.key.id);
        made.insert("version".to_owned(), number(version));
        made.extend(
            write
                .body
                .as_ref()
                .map(|body| (BODY.to_owned(), packed(body))),
        );
        set_entries(&mut made, "marks", &wanted);
        set_entries(
            &mut made,
            "late",
            &late.iter().map(|entry| (*entry).clone()).collect(),
        );
        let index_entries: Vec<EntryItem> = late.iter().map(|entry| placed(entry)).collect();
        actions.late.push(LateEntries {
            key: write.key.clone(),
            version,
            index_entries,
        });
        let put = self.put().set_item(Some(made));
        let put = match stored.version {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(version) => put
                .condition_expression("version = :version")
                .expression_attribute_values(":version", number(version)),
        };
        actions.put(put)
    }

    fn put(&self) -> aws_sdk_dynamodb::types::builders::PutBuilder {
        Put::builder().table_name(&*self.table)
    }
}

/// What a transaction does, and what is left to do after it.
#[derive(Default)]
struct Actions {
    all: Vec<TransactWriteItem>,
    late: Vec<LateEntries>,
}

/// What is left of a record's index entries once it was written as this version.
struct LateEntries {
    key: Key,
    version: u64,
    index_entries: Vec<EntryItem>,
}

impl Actions {
    fn put(
        &mut self,
        put: aws_sdk_dynamodb::types::builders::PutBuilder,
    ) -> Result<(), StateError> {
        self.all
            .push(TransactWriteItem::builder().put(put.build()?).build());
        Ok(())
    }
}

/// Whether an action was cancelled for what passes: for what somebody else did at the same time, for a moment's load, or only with
/// the others.
fn is_passing(code: Option<&str>) -> bool {
    matches!(
        code,
        None | Some(
            "None"
                | "ConditionalCheckFailed"
                | "TransactionConflict"
                | "ThrottlingError"
                | "ProvisionedThroughputExceeded"
        )
    )
}

fn record(table: Table, found: &Item) -> Result<Record, StateError> {
    Ok(Record {
        key: Key::new(table, get_text(found, "sk")?),
        version: Version(get_number(found, "version")?),
        body: unpacked(found)?,
    })
}
