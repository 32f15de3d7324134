//! A stream that invokes a function: reads the shards of a table, and gives records to the function in their order.

use crate::lambda::account::Account;
use crate::lambda::activity::Reads;
use crate::lambda::batch::{
    Batch, Next, Reason, Verdict, batches, created, cut_old, decide, sequence_number, verdict,
};
use crate::lambda::clock::{iso, now_ms};
use crate::lambda::deployed::Mapping;
use crate::lambda::faults::Record;
use crate::lambda::function::Function;
use crate::lambda::invoker::{Invoker, destination_record, new_id};
use axum::body::Bytes;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The pause between two reads of a shard. AWS reads four times a second.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Records of one read (Amazon DynamoDB API Reference, `GetRecords`).
const READ_MAX: usize = 1000;

/// What the function's role needs for it.
const RIGHTS: [&str; 3] = [
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
];

/// A mapping that works as long as its tasks do.
pub struct Working {
    /// Counts the reads of each shard.
    pub reads: Vec<Reads>,
    /// Reads shards and invokes the function.
    pub tasks: Vec<JoinHandle<()>>,
}

/// Begins to read a stream, from what was there before on or from now on.
pub async fn start(invoker: &Arc<Invoker>, mapping: &Mapping) -> io::Result<Working> {
    let Some(function) = invoker.find(&mapping.function) else {
        return Err(io::Error::other(format!(
            "no function {} for {}",
            mapping.function, mapping.stream
        )));
    };
    for right in RIGHTS {
        if !invoker
            .role_may(&function.settings.role, right, &mapping.stream)
            .await?
        {
            return Err(io::Error::other(format!(
                "{} lacks {right} on {}",
                mapping.function, mapping.stream
            )));
        }
    }
    let found = stream(
        &invoker.account,
        "DescribeStream",
        &json!({ "StreamArn": mapping.stream }),
    )
    .await?;
    let mut working = Working {
        reads: Vec::new(),
        tasks: Vec::new(),
    };
    for shard in found["StreamDescription"]["Shards"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let shard = shard["ShardId"].as_str().unwrap_or_default().to_owned();
        let (reads, mut lanes) = (Reads::default(), Vec::new());
        for _ in 0..invoker.faults.shards.max(1) {
            let (lane, records) = mpsc::unbounded_channel();
            let (invoker, mapping, function, shard) = (
                Arc::clone(invoker),
                mapping.clone(),
                Arc::clone(function),
                shard.clone(),
            );
            working.tasks.push(tokio::spawn(
                Lane {
                    invoker,
                    mapping,
                    function,
                    shard,
                    records,
                    work: VecDeque::new(),
                }
                .run(),
            ));
            lanes.push(lane);
        }
        let mut reader = Reader {
            invoker: Arc::clone(invoker),
            mapping: mapping.clone(),
            shard,
            place: None,
            last: None,
            lanes,
        };
        reader.place = Some(reader.open().await?);
        working.reads.push(reads.clone());
        working.tasks.push(tokio::spawn(reader.run(reads)));
    }
    Ok(working)
}

async fn stream(account: &Account, what: &str, question: &Value) -> io::Result<Value> {
    account
        .ask(
            "dynamodb",
            &format!("DynamoDBStreams_20120810.{what}"),
            question,
        )
        .await
}

/// Reads one shard.
struct Reader {
    invoker: Arc<Invoker>,
    mapping: Mapping,
    shard: String,
    /// Where the next read begins.
    place: Option<Value>,
    /// The number of the last record that was read.
    last: Option<String>,
    lanes: Vec<mpsc::UnboundedSender<Vec<Record>>>,
}

impl Reader {
    async fn open(&self) -> io::Result<Value> {
        let mut question = json!({ "StreamArn": self.mapping.stream, "ShardId": self.shard, "ShardIteratorType": self.mapping.start });
        if let Some(last) = &self.last {
            question["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
            question["SequenceNumber"] = json!(last);
        }
        Ok(
            stream(&self.invoker.account, "GetShardIterator", &question).await?["ShardIterator"]
                .take(),
        )
    }

    async fn run(mut self, reads: Reads) {
        loop {
            match self.read().await {
                Ok(true) => reads.add(),
                Ok(false) => {
                    reads.add();
                    tokio::time::sleep(READ_PAUSE).await;
                }
                Err(error) => {
                    self.invoker
                        .troubles
                        .add(format!("{}: {error}", self.mapping.stream));
                    self.place = None;
                    tokio::time::sleep(READ_PAUSE).await;
                }
            }
        }
    }

    /// Reads once. False if there was nothing.
    async fn read(&mut self) -> io::Result<bool> {
        let place = match self.place.clone() {
            Some(place) => place,
            None => self.open().await?,
        };
        let mut page = stream(
            &self.invoker.account,
            "GetRecords",
            &json!({ "ShardIterator": place, "Limit": READ_MAX }),
        )
        .await?;
        self.place = Some(page["NextShardIterator"].take()).filter(|place| !place.is_null());
        let Value::Array(records) = page["Records"].take() else {
            return Ok(false);
        };
        let Some(last) = records.last() else {
            return Ok(false);
        };
        self.last = Some(sequence_number(last).to_owned());
        self.hand_on(records);
        Ok(true)
    }

    fn hand_on(&self, records: Vec<Value>) {
        let (filters, faults) = (&self.mapping.filters, &self.invoker.faults);
        let wanted = records.into_iter().filter(|record| {
            filters.is_empty() || filters.iter().any(|filter| filter.matches(record))
        });
        let wanted = wanted
            .map(|record| {
                (
                    whole(record, &self.mapping.stream),
                    self.invoker.activity.begin(),
                )
            })
            .collect();
        let mut shards: Vec<Vec<Record>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for record in faults.shuffle(wanted) {
            shards[faults.shard(&record.0)].push(record);
        }
        for (lane, records) in self.lanes.iter().zip(shards) {
            // A lane that is gone was ended with everything else.
            let _ = lane.send(records);
        }
    }
}

/// A record as functions see it.
fn whole(mut record: Value, stream: &str) -> Value {
    record["eventSourceARN"] = json!(stream);
    record
}

/// Gives the records of one shard to the function, a batch at a time.
struct Lane {
    invoker: Arc<Invoker>,
    mapping: Mapping,
    function: Arc<Function>,
    shard: String,
    records: mpsc::UnboundedReceiver<Vec<Record>>,
    work: VecDeque<Batch>,
}

impl Lane {
    async fn run(mut self) {
        while let Some(mut records) = self.records.recv().await {
            self.invoker.faults.wait().await;
            while let Ok(more) = self.records.try_recv() {
                records.extend(more);
            }
            self.work.extend(batches(&self.mapping, records));
            while let Some(batch) = self.work.pop_front() {
                self.step(batch).await;
            }
        }
    }

    async fn step(&mut self, mut batch: Batch) {
        if let Some(old) = cut_old(&self.mapping, &mut batch, now_ms()) {
            self.give_up(old, Reason::Age, "", true).await;
        }
        if batch.records.is_empty() {
            return;
        }
        let (id, mut found, mut is_error) = (new_id(), Verdict::Done, false);
        for _ in 0..self.invoker.faults.deliveries() {
            let records: Vec<&Value> = batch.records.iter().map(|(record, _)| record).collect();
            let answer = self
                .function
                .invoke(&id, Bytes::from(json!({ "Records": records }).to_string()))
                .await;
            (found, is_error) = (
                verdict(&self.mapping, &batch.records, &answer),
                answer.is_err(),
            );
            if found != Verdict::Done {
                break;
            }
        }
        match decide(&self.mapping, batch, found) {
            Next::Behind => {}
            Next::Again(batches) => {
                batches
                    .into_iter()
                    .rev()
                    .for_each(|batch| self.work.push_front(batch));
                tokio::time::sleep(self.invoker.pause).await;
            }
            Next::GiveUp(batch, reason) => self.give_up(batch, reason, &id, is_error).await,
        }
    }

    /// Tells a queue which records it was; what was in them can be read in the stream, for a day.
    async fn give_up(&self, batch: Batch, reason: Reason, id: &str, is_error: bool) {
        let arn = &self.function.settings.arn;
        let mut record =
            destination_record(arn, id, reason.condition(), batch.retries + 1, is_error);
        record["DDBStreamBatchInfo"] = batch_info(&self.shard, &self.mapping.stream, &batch);
        self.invoker
            .tell(&self.function, self.mapping.on_failure.as_deref(), &record)
            .await;
    }
}

fn batch_info(shard: &str, stream: &str, batch: &Batch) -> Value {
    let (first, last) = (
        &batch.records[0].0,
        &batch.records[batch.records.len() - 1].0,
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time after 1970"
    )]
    let arrival = |record: &Value| iso((created(record) * 1000.0) as u64);
    json!({
        "shardId": shard,
        "startSequenceNumber": sequence_number(first),
        "endSequenceNumber": sequence_number(last),
        "approximateArrivalOfFirstRecord": arrival(first),
        "approximateArrivalOfLastRecord": arrival(last),
        "batchSize": batch.records.len(),
        "streamArn": stream,
    })
}
