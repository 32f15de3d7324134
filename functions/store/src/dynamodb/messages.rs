//! Messages: items of the outbox.

use super::{DynamoDb, Item, get_number, get_text, item, number, place, text, unavailable};
use crate::state::{DELIVERIES_MAX, Message, MessageId, StateError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValue;
use millrace_core::Timestamp;
use millrace_core::order::Effect;
use std::num::ParseIntError;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// The partition that messages lie in. Tables and the filter of their stream have had this name from the first version on, when a
/// message was called a letter.
const PLACE: &str = "letter";

/// The index of what is due, and its attributes.
pub(super) const DUE_INDEX: &str = "due";
pub(super) const TRAY: &str = "tray";
pub(super) const DUE: &str = "due";
pub(super) const DELIVERIES: &str = "deliveries";

/// Messages that are delivered.
const OUT: &str = "out";
/// Dead letters. Tables have had this name for their tray from the first version on.
const DEAD_LETTERS: &str = "aside";

/// Before and behind every place: places begin with digits.
const FIRST: &str = "0";
const LAST: &str = "~";

/// Messages looked at in one question; taking more asks again.
const PAGE: usize = 100;

/// Times that taking looks at the index, which may be a moment behind: a caller that sees nothing but what others have taken by now comes
/// again later, and asks for nothing meanwhile.
const LOOKS_MAX: usize = 16;

/// Numbers of one microsecond: a number is the time at which it was given, and these so that one commit has as many as it needs.
const IN_A_MICROSECOND: u64 = 1 << 10;

fn sk(id: MessageId) -> String {
    format!("{:020}", id.0)
}

/// Where a message stands among those of its tray: by its time, and among those of one time by its number.
fn due(at: Timestamp, id: MessageId) -> String {
    format!("{:020}/{:020}", at.0, id.0)
}

/// The place behind everything that is due at a moment: the slash of [`due`] sorts before it.
fn behind(at: Timestamp) -> String {
    format!("{:020}~", at.0)
}

fn read(found: &Item, id: MessageId) -> Result<Message, StateError> {
    let deliveries = u32::try_from(get_number(found, DELIVERIES)?).unwrap_or(u32::MAX);
    Ok(Message {
        id,
        effect: Effect::read(get_text(found, "effect")?),
        deliveries,
    })
}

/// The message in an item as the table's stream shows it: each attribute in an object that names its type (Amazon DynamoDB Developer
/// Guide, "Low-level API"). None if the item is no message.
pub fn posted(image: &serde_json::Value) -> Option<Result<Message, StateError>> {
    let get = |name: &str, kind: &str| image[name][kind].as_str();
    if get("pk", "S") != Some(PLACE) {
        return None;
    }
    let found = ["pk", "sk", "effect"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), text(get(name, "S")?))));
    let found: Item = found
        .chain(get(DELIVERIES, "N").map(|count| (DELIVERIES.to_owned(), number(count))))
        .collect();
    let id = get_text(&found, "sk").and_then(|digits| {
        digits
            .parse()
            .map(MessageId)
            .map_err(|error: ParseIntError| {
                StateError::unreadable(format!("the number of a message, `{digits}`"), error)
            })
    });
    Some(id.and_then(|id| read(&found, id)))
}

/// A message as the index of what is due has it.
struct DueMessage {
    id: MessageId,
    due: String,
    deliveries: u64,
}

impl DynamoDb {
    /// Numbers for so many messages. They grow with the time and, within a process, always; that no two processes have given the
    /// same one is a condition of the write.
    pub(super) fn numbers(&self, count: usize) -> Range<u64> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX / IN_A_MICROSECOND);
        let now = micros.saturating_mul(IN_A_MICROSECOND) + fastrand::u64(..IN_A_MICROSECOND);
        let count = count as u64;
        let next = |last: u64| Some(last.max(now) + count);
        let last = self
            .numbers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .unwrap_or_else(|last| last);
        let first = last.max(now);
        first..first + count
    }

    /// A message that nobody has had.
    pub(super) fn new_message(number_of_it: u64, effect: &Effect) -> Result<Item, StateError> {
        let id = MessageId(number_of_it);
        let json = serde_json::to_value(effect)
            .map_err(|error| StateError::unreadable("an effect", error))?;
        let kind = json["effect"].as_str().unwrap_or_default().to_owned();
        let mut made = place(PLACE, &sk(id));
        made.extend(item([
            ("effect", text(json.to_string())),
            ("kind", text(kind)),
            (DELIVERIES, number(0)),
            (TRAY, text(OUT)),
            (DUE, text(due(Timestamp(0), id))),
        ]));
        Ok(made)
    }

    pub(super) async fn take_messages(
        &self,
        limit: usize,
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> Result<Vec<Message>, StateError> {
        self.take_between(limit, FIRST, &behind(now), hidden_until)
            .await
    }

    /// Takes messages as [`StateStore::take`](crate::StateStore::take) does, but of those that were never taken only the ones posted
    /// `late_ms` ago or earlier: the function that the table's stream has woken is at the others. Hides them for `late_ms`. The change that
    /// this is comes through the stream, too.
    pub async fn take_late(
        &self,
        limit: usize,
        now: Timestamp,
        late_ms: u64,
    ) -> Result<Vec<Message>, StateError> {
        let (hidden_until, untaken) = (now.plus_ms(late_ms), Timestamp(0));
        let posted = MessageId(
            now.0
                .saturating_sub(late_ms)
                .saturating_mul(1000)
                .saturating_mul(IN_A_MICROSECOND),
        );
        let mut messages = self
            .take_between(limit, FIRST, &due(untaken, posted), hidden_until)
            .await?;
        let rest = limit - messages.len();
        messages.extend(
            self.take_between(rest, &behind(untaken), &behind(now), hidden_until)
                .await?,
        );
        Ok(messages)
    }

    /// Takes messages that are due between two places.
    async fn take_between(
        &self,
        limit: usize,
        from: &str,
        to: &str,
        hidden_until: Timestamp,
    ) -> Result<Vec<Message>, StateError> {
        let mut messages = Vec::new();
        for _ in 0..LOOKS_MAX {
            let wanted = (limit - messages.len()).min(PAGE);
            if wanted == 0 {
                break;
            }
            let seen = self.seen(OUT, (from, to), wanted).await?;
            let is_last = seen.len() < wanted;
            for one in seen {
                messages.extend(self.take_one(&one, hidden_until).await?);
            }
            if is_last {
                break;
            }
        }
        Ok(messages)
    }

    /// Takes a message that is still as it was seen; none if somebody else was faster, or if it was delivered often enough.
    async fn take_one(
        &self,
        seen: &DueMessage,
        hidden_until: Timestamp,
    ) -> Result<Option<Message>, StateError> {
        if seen.deliveries >= u64::from(DELIVERIES_MAX) {
            self.make_dead_letter(seen).await?;
            return Ok(None);
        }
        let update = self
            .update(seen)
            .update_expression("SET #due = :next, #deliveries = #deliveries + :one")
            .expression_attribute_names("#deliveries", DELIVERIES)
            .expression_attribute_values(":next", text(due(hidden_until, seen.id)))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew);
        let Some(taken) = changed(update.send().await)? else {
            return Ok(None);
        };
        let taken = taken.attributes.unwrap_or_default();
        match read(&taken, seen.id) {
            Ok(message) if message.is_readable() => Ok(Some(message)),
            // It must not hold up those behind it.
            Ok(_) | Err(_) => {
                self.make_dead_letter(&DueMessage {
                    due: due(hidden_until, seen.id),
                    deliveries: seen.deliveries + 1,
                    ..*seen
                })
                .await?;
                Ok(None)
            }
        }
    }

    async fn make_dead_letter(&self, seen: &DueMessage) -> Result<(), StateError> {
        let update = self
            .update(seen)
            .update_expression("SET #tray = :aside")
            .expression_attribute_values(":aside", text(DEAD_LETTERS));
        changed(update.send().await).map(drop)
    }

    /// A change of a message that is still as it was seen.
    fn update(
        &self,
        seen: &DueMessage,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(place(PLACE, &sk(seen.id))))
            .condition_expression("#tray = :out AND #due = :due")
            .expression_attribute_names("#tray", TRAY)
            .expression_attribute_names("#due", DUE)
            .expression_attribute_values(":out", text(OUT))
            .expression_attribute_values(":due", text(&seen.due))
    }

    pub(super) async fn settle_message(&self, message: MessageId) -> Result<(), StateError> {
        let forget = self
            .client
            .delete_item()
            .table_name(&*self.table)
            .set_key(Some(place(PLACE, &sk(message))));
        forget.send().await.map(drop).map_err(unavailable)
    }

    pub(super) async fn dead_messages(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.messages_in(DEAD_LETTERS, limit).await
    }

    pub(super) async fn messages_out(&self, limit: usize) -> Result<Vec<Message>, StateError> {
        self.messages_in(OUT, limit).await
    }

    async fn messages_in(&self, tray: &str, limit: usize) -> Result<Vec<Message>, StateError> {
        let mut messages = Vec::new();
        for seen in self.seen(tray, (FIRST, LAST), limit).await? {
            // The index may be a moment old, and it settled by now.
            messages.extend(self.load_message(seen.id).await?);
        }
        Ok(messages)
    }

    /// The change is one that the table's stream shows, so the function that acts on the message is woken.
    pub(super) async fn put_message_back(
        &self,
        id: MessageId,
        now: Timestamp,
    ) -> Result<bool, StateError> {
        let update = self
            .client
            .update_item()
            .table_name(&*self.table)
            .set_key(Some(place(PLACE, &sk(id))))
            .condition_expression("attribute_exists(pk)")
            .update_expression("SET #tray = :out, #due = :due, #deliveries = :none")
            .expression_attribute_names("#tray", TRAY)
            .expression_attribute_names("#due", DUE)
            .expression_attribute_names("#deliveries", DELIVERIES)
            .expression_attribute_values(":out", text(OUT))
            .expression_attribute_values(":due", text(due(now, id)))
            .expression_attribute_values(":none", number(0));
        Ok(changed(update.send().await)?.is_some())
    }

    pub(super) async fn load_message(&self, id: MessageId) -> Result<Option<Message>, StateError> {
        let get = self
            .client
            .get_item()
            .table_name(&*self.table)
            .set_key(Some(place(PLACE, &sk(id))))
            .consistent_read(true);
        get.send()
            .await
            .map_err(unavailable)?
            .item
            .map(|found| read(&found, id))
            .transpose()
    }

    /// Messages of a tray that are due between two places, in the order in which they are.
    async fn seen(
        &self,
        tray: &str,
        (from, to): (&str, &str),
        limit: usize,
    ) -> Result<Vec<DueMessage>, StateError> {
        let query = self
            .client
            .query()
            .index_name(DUE_INDEX)
            .key_condition_expression("#tray = :tray AND #due BETWEEN :from AND :to")
            .expression_attribute_names("#tray", TRAY)
            .expression_attribute_names("#due", DUE)
            .expression_attribute_values(":tray", text(tray))
            .expression_attribute_values(":from", text(from))
            .expression_attribute_values(":to", text(to));
        let found = self.pages(query, limit).await?;
        let seen = |found: &Item| {
            let id = get_text(found, "sk")?
                .parse()
                .map_err(|error: ParseIntError| {
                    StateError::unreadable("the number of a message", error)
                })?;
            Ok(DueMessage {
                id: MessageId(id),
                due: get_text(found, DUE)?.to_owned(),
                deliveries: get_number(found, DELIVERIES)?,
            })
        };
        found.iter().map(seen).collect()
    }
}

/// What came of a change under a condition: none if the condition did not hold.
fn changed<T, R: std::fmt::Debug + Send + Sync + 'static>(
    result: Result<T, aws_sdk_dynamodb::error::SdkError<UpdateItemError, R>>,
) -> Result<Option<T>, StateError> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(None)
        }
        Err(error) => Err(unavailable(error)),
    }
}
