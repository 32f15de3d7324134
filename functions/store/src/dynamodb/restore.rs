//! A table put back from another one, as point-in-time recovery makes it.

use super::{DynamoDb, Item, unavailable};
use crate::state::StateError;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use std::collections::HashMap;
use std::time::Duration;

/// Most items in one write (Amazon DynamoDB API Reference, "BatchWriteItem").
const ITEMS_MAX: usize = 25;

/// The pause before items are sent again that the table had no room for: a second is what its throughput is counted by.
const PAUSE: Duration = Duration::from_secs(1);

/// Times that the same items are sent again.
const TRIES_MAX: usize = 60;

impl DynamoDb {
    /// Puts every item of another table into this one, over what is there; answers how many there were. To be done while nobody
    /// else writes. Twice the same does no harm.
    pub async fn restore_from(&self, other: &str) -> Result<u64, StateError> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self
                .client
                .scan()
                .table_name(other)
                .consistent_read(true)
                .set_exclusive_start_key(after)
                .send()
                .await;
            let page = page.map_err(unavailable)?;
            for items in page.items().chunks(ITEMS_MAX) {
                self.put_all(items).await?;
                count += items.len() as u64;
            }
            match page.last_evaluated_key {
                Some(last) => after = Some(last),
                None => return Ok(count),
            }
        }
    }

    async fn put_all(&self, items: &[Item]) -> Result<(), StateError> {
        let put = |item: &Item| PutRequest::builder().set_item(Some(item.clone())).build();
        let put = |item: &Item| Ok(WriteRequest::builder().put_request(put(item)?).build());
        let odd =
            |error: aws_sdk_dynamodb::error::BuildError| StateError::unreadable("an item", error);
        let mut left: Vec<WriteRequest> = items
            .iter()
            .map(put)
            .collect::<Result<_, _>>()
            .map_err(odd)?;
        for _ in 0..TRIES_MAX {
            let write = self
                .client
                .batch_write_item()
                .set_request_items(Some(HashMap::from([(self.table.to_string(), left)])));
            let done = write.send().await.map_err(unavailable)?;
            left = done
                .unprocessed_items
                .unwrap_or_default()
                .into_values()
                .flatten()
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(StateError::unavailable(format!(
            "the table {} had no room for {} items",
            self.table,
            left.len()
        )))
    }
}
