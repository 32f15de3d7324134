//! What may happen to events on their way, all of which AWS reserves for itself: it delivers at least once, and keeps no order but
//! that of the changes of one item.

use crate::lambda::activity::Busy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What happens to events that nobody waits for, and to records of streams. To end a function in the middle, see
/// [`crate::lambda::Children`].
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Everything that was delivered is delivered once more.
    pub twice: bool,
    /// Records of different items change places, in an order of this seed.
    pub shuffled: Option<u64>,
    /// Everything is held back for a time.
    pub late: Option<Duration>,
    /// In how many shards the items of a stream lie, each of which invokes the function beside the others. None of it is one.
    pub shards: usize,
    /// One call in four of a function to another meets with trouble that passes, in an order of this seed.
    pub calls: Option<u64>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// It gets through, and so does its answer.
    Pass,
    /// Lambda has no room for it.
    Throttle,
    Break,
    /// It is made, and its answer is lost.
    Lose,
}

/// A record of a stream, which is under way until it is done with.
pub type Record = (Value, Busy);

impl Faults {
    /// Puts records in another order; those of one item stay in theirs.
    pub fn shuffle(&self, records: Vec<Record>) -> Vec<Record> {
        let Some(seed) = self.shuffled else {
            return records;
        };
        let mut chance = fastrand::Rng::with_seed(seed ^ records.len() as u64);
        let mut places: Vec<String> = records.iter().map(|(record, _)| item(record)).collect();
        let mut items = BTreeMap::<String, std::collections::VecDeque<Record>>::new();
        for record in records {
            items.entry(item(&record.0)).or_default().push_back(record);
        }
        chance.shuffle(&mut places);
        places
            .iter()
            .filter_map(|item| items.get_mut(item)?.pop_front())
            .collect()
    }

    /// The shard in which an item lies.
    pub fn shard(&self, record: &Value) -> usize {
        // FNV-1a.
        let hash = item(record)
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        usize::try_from(hash >> 32).unwrap_or_default() % self.shards.max(1)
    }

    /// What becomes of the next call, which is the one of this number.
    pub fn call(&self, number: usize) -> Call {
        let Some(seed) = self.calls else {
            return Call::Pass;
        };
        match fastrand::Rng::with_seed(seed ^ (number as u64) << 32).u8(0..12) {
            0 => Call::Throttle,
            1 => Call::Break,
            2 => Call::Lose,
            _ => Call::Pass,
        }
    }

    /// How often an event is delivered.
    pub fn deliveries(&self) -> usize {
        if self.twice { 2 } else { 1 }
    }

    /// Waits as long as events are late.
    pub async fn wait(&self) {
        if let Some(late) = self.late {
            tokio::time::sleep(late).await;
        }
    }
}

/// Which item a record is about.
fn item(record: &Value) -> String {
    record["dynamodb"]["Keys"].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::activity::Activity;
    use serde_json::json;

    fn records() -> Vec<Record> {
        let record = |number: usize| json!({ "dynamodb": { "Keys": { "pk": { "N": number % 4 } }, "SequenceNumber": number } });
        (0..40)
            .map(|number| (record(number), Activity::default().begin()))
            .collect()
    }

    fn numbers(records: &[Record]) -> Vec<u64> {
        records
            .iter()
            .map(|(record, _)| record["dynamodb"]["SequenceNumber"].as_u64().unwrap())
            .collect()
    }

    #[test]
    fn only_records_of_different_items_change_places() {
        let shuffled = numbers(
            &Faults {
                shuffled: Some(1),
                ..Faults::default()
            }
            .shuffle(records()),
        );
        assert_ne!(shuffled, numbers(&records()));
        for item in 0..4 {
            let of_item: Vec<u64> = shuffled
                .iter()
                .copied()
                .filter(|number| number % 4 == item)
                .collect();
            assert_eq!(
                of_item,
                (0..10).map(|change| change * 4 + item).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn an_item_lies_in_one_shard() {
        let faults = Faults {
            shards: 3,
            ..Faults::default()
        };
        let shards: Vec<usize> = records()
            .iter()
            .map(|(record, _)| faults.shard(record))
            .collect();
        assert_eq!(shards[..4], shards[36..]);
        assert!(
            shards[..4].iter().any(|shard| *shard != shards[0]),
            "{shards:?}"
        );
    }
}
