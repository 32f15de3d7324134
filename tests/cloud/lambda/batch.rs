//! Which records a function is given together, and what becomes of them after it answered (AWS Lambda Developer Guide, "Using
//! Lambda to process records from Amazon DynamoDB Streams"): nothing here waits or asks.

use crate::lambda::REQUEST_BYTES_MAX;
use crate::lambda::deployed::Mapping;
use crate::lambda::faults::Record;
use crate::lambda::function::Failure;
use serde_json::Value;

/// The most bytes of records in one event; `{"Records":[]}` is around them.
const RECORDS_BYTES_MAX: usize = REQUEST_BYTES_MAX - 14;

/// Records that are given to the function together.
#[derive(Debug)]
pub struct Batch {
    /// In their order; never none.
    pub records: Vec<Record>,
    /// Times that they were tried again.
    pub retries: u32,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// Everything from this record on is to come again.
    FailedFrom(usize),
    /// The function was not asked.
    Throttled,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Whatever is behind the batch.
    Behind,
    /// These, in their order, and then whatever is behind them.
    Again(Vec<Batch>),
    /// These are given up, and then comes whatever is behind them.
    GiveUp(Batch, Reason),
}

/// Why records are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// They were tried as often as they may be.
    Retries,
    /// They are too old.
    Age,
}

impl Reason {
    /// As the queue is told.
    pub fn condition(self) -> &'static str {
        match self {
            Self::Retries => "RetryAttemptsExhausted",
            Self::Age => "RecordAgeExceeded",
        }
    }
}

/// Puts records into batches: as many in each as the mapping says, unless they are too many bytes for one event.
pub fn batches(mapping: &Mapping, records: Vec<Record>) -> Vec<Batch> {
    let (mut batches, mut bytes) = (Vec::<Batch>::new(), 0);
    for record in records {
        // A comma comes with it.
        let more = record.0.to_string().len() + 1;
        match batches.last_mut() {
            Some(last)
                if last.records.len() < mapping.batch_max && bytes + more < RECORDS_BYTES_MAX =>
            {
                last.records.push(record)
            }
            Some(_) | None => {
                batches.push(Batch {
                    records: vec![record],
                    retries: 0,
                });
                bytes = 0;
            }
        }
        bytes += more;
    }
    batches
}

/// Reads an answer to a batch.
pub fn verdict(
    mapping: &Mapping,
    records: &[Record],
    answer: &Result<impl AsRef<[u8]>, Failure>,
) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer.as_ref(),
        Err(Failure::Throttled) => return Verdict::Throttled,
        Err(Failure::Error(_)) => return Verdict::FailedFrom(0),
    };
    if !mapping.partial {
        return Verdict::Done;
    }
    match serde_json::from_slice::<Value>(answer) {
        Ok(answer) => failed_from(&answer["batchItemFailures"], records),
        Err(_) => Verdict::FailedFrom(0),
    }
}

/// The first record among those that failed. A name that no record has says that nothing can be relied on.
fn failed_from(failures: &Value, records: &[Record]) -> Verdict {
    let failures = match failures {
        Value::Null => return Verdict::Done,
        Value::Array(failures) if failures.is_empty() => return Verdict::Done,
        Value::Array(failures) => failures,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            return Verdict::FailedFrom(0);
        }
    };
    let place = |failure: &Value| {
        let named = failure["itemIdentifier"]
            .as_str()
            .filter(|named| !named.is_empty())?;
        records
            .iter()
            .position(|(record, _)| sequence_number(record) == named)
    };
    let places: Option<Vec<usize>> = failures.iter().map(place).collect();
    Verdict::FailedFrom(
        places
            .and_then(|places| places.into_iter().min())
            .unwrap_or(0),
    )
}

/// Decides what comes next. Cutting a batch in two uses up no retry.
pub fn decide(mapping: &Mapping, mut batch: Batch, verdict: Verdict) -> Next {
    let from = match verdict {
        Verdict::Done => return Next::Behind,
        Verdict::Throttled => return Next::Again(vec![batch]),
        Verdict::FailedFrom(from) => from,
    };
    let retries = batch.retries;
    batch.records.drain(..from);
    if mapping.bisect && from > 0 {
        return Next::Again(vec![batch]);
    }
    if mapping.bisect && batch.records.len() > 1 {
        let half = batch.records.len() / 2;
        let second = Batch {
            records: batch.records.split_off(half),
            retries,
        };
        return Next::Again(vec![batch, second]);
    }
    if mapping.retries_max.is_some_and(|max| retries >= max) {
        return Next::GiveUp(batch, Reason::Retries);
    }
    Next::Again(vec![Batch {
        retries: retries + 1,
        ..batch
    }])
}

/// Cuts off the records at the front of a batch that are too old to be tried.
pub fn cut_old(mapping: &Mapping, batch: &mut Batch, now_ms: u64) -> Option<Batch> {
    let age_max = mapping.age_max?.as_secs_f64();
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds of this century are exact"
    )]
    let oldest = now_ms as f64 / 1000.0 - age_max;
    let young = batch
        .records
        .iter()
        .position(|(record, _)| created(record) >= oldest)
        .unwrap_or(batch.records.len());
    let old: Vec<Record> = batch.records.drain(..young).collect();
    (!old.is_empty()).then_some(Batch {
        records: old,
        retries: batch.retries,
    })
}

/// The number of a record's change.
pub fn sequence_number(record: &Value) -> &str {
    record["dynamodb"]["SequenceNumber"]
        .as_str()
        .unwrap_or_default()
}

/// When it happened, in seconds since 1970.
pub fn created(record: &Value) -> f64 {
    record["dynamodb"]["ApproximateCreationDateTime"]
        .as_f64()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::activity::Activity;
    use serde_json::json;
    use std::collections::VecDeque;
    use std::time::Duration;

    fn mapping(bisect: bool, retries_max: Option<u32>) -> Mapping {
        Mapping {
            stream: String::new(),
            function: String::new(),
            start: String::new(),
            batch_max: 10,
            bisect,
            retries_max,
            age_max: Some(Duration::from_secs(10)),
            partial: true,
            filters: Vec::new(),
            on_failure: None,
        }
    }

    fn record(number: u32) -> Record {
        let dynamodb =
            json!({ "SequenceNumber": number.to_string(), "ApproximateCreationDateTime": number });
        (json!({ "dynamodb": dynamodb }), Activity::default().begin())
    }

    fn batch(numbers: std::ops::Range<u32>) -> Batch {
        Batch {
            records: numbers.map(record).collect(),
            retries: 0,
        }
    }

    fn numbers(batch: &Batch) -> Vec<u32> {
        batch
            .records
            .iter()
            .map(|(record, _)| sequence_number(record).parse().unwrap())
            .collect()
    }

    #[test]
    fn a_batch_is_neither_too_many_records_nor_too_many_bytes() {
        let mapping = mapping(true, None);
        let lengths = |records| {
            batches(&mapping, records)
                .iter()
                .map(|batch| batch.records.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths((0..25).map(record).collect()), [10, 10, 5]);
        let mut large = [record(0), record(1), record(2), record(3)];
        for place in [0, 1] {
            large[place].0["large"] = json!("x".repeat(REQUEST_BYTES_MAX / 2));
        }
        assert_eq!(lengths(large.into()), [1, 3]);
    }

    fn said(answer: &str) -> Verdict {
        verdict(&mapping(true, None), &batch(0..5).records, &Ok(answer))
    }

    #[test]
    fn an_answer_names_what_failed() {
        for well in [
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
        ] {
            assert_eq!(said(well), Verdict::Done, "{well}");
        }
        let failed = |named: &str| said(&format!(r#"{{"batchItemFailures":[{named}]}}"#));
        assert_eq!(
            failed(r#"{"itemIdentifier":"4"},{"itemIdentifier":"2"}"#),
            Verdict::FailedFrom(2)
        );
        for nothing in [
            r#"{"itemIdentifier":""}"#,
            r#"{"itemIdentifier":"9"},{"itemIdentifier":"2"}"#,
            "{}",
            "7",
        ] {
            assert_eq!(failed(nothing), Verdict::FailedFrom(0), "{nothing}");
        }
        assert_eq!(said("no JSON"), Verdict::FailedFrom(0));
    }

    #[test]
    fn a_function_that_fails_fails_all_and_one_that_is_not_asked_to_tell_fails_none() {
        let records = batch(0..3).records;
        let all = mapping(true, None);
        assert_eq!(
            verdict(&all, &records, &Err::<&str, _>(Failure::Error(Value::Null))),
            Verdict::FailedFrom(0)
        );
        assert_eq!(
            verdict(&all, &records, &Err::<&str, _>(Failure::Throttled)),
            Verdict::Throttled
        );
        let untold = Mapping {
            partial: false,
            ..mapping(true, None)
        };
        assert_eq!(
            verdict(
                &untold,
                &records,
                &Ok(r#"{"batchItemFailures":[{"itemIdentifier":"1"}]}"#)
            ),
            Verdict::Done
        );
    }

    /// Runs a batch to its end for a function that cannot do one of the records: what was given up, and how often it was asked.
    fn run(mapping: &Mapping, poison: u32, partial: bool) -> (Vec<u32>, usize) {
        let (mut work, mut lost, mut asked) = (VecDeque::from([batch(0..10)]), Vec::new(), 0);
        while let Some(batch) = work.pop_front() {
            asked += 1;
            let verdict = match numbers(&batch).iter().position(|number| *number == poison) {
                Some(place) => Verdict::FailedFrom(if partial { place } else { 0 }),
                None => Verdict::Done,
            };
            match decide(mapping, batch, verdict) {
                Next::Behind => {}
                Next::Again(batches) => batches
                    .into_iter()
                    .rev()
                    .for_each(|batch| work.push_front(batch)),
                Next::GiveUp(batch, reason) => {
                    assert_eq!(reason, Reason::Retries);
                    lost.extend(numbers(&batch));
                }
            }
        }
        (lost, asked)
    }

    #[test]
    fn halving_finds_the_one_that_fails() {
        // Ten, five and three records with it fail, then it alone three times; five, two and two records beside it do not.
        assert_eq!(run(&mapping(true, Some(2)), 7, false), (vec![7], 9));
        assert_eq!(run(&mapping(true, Some(2)), 7, true), (vec![7], 6));
    }

    #[test]
    fn without_halving_its_neighbours_are_lost_with_it() {
        assert_eq!(
            run(&mapping(false, Some(2)), 7, false),
            ((0..10).collect(), 3)
        );
        assert_eq!(run(&mapping(false, Some(2)), 7, true), (vec![7, 8, 9], 3));
    }

    #[test]
    fn waiting_for_room_uses_up_no_retry() {
        let Next::Again(again) = decide(&mapping(true, Some(0)), batch(0..4), Verdict::Throttled)
        else {
            panic!("it was not asked")
        };
        assert_eq!(
            (again.len(), numbers(&again[0]), again[0].retries),
            (1, vec![0, 1, 2, 3], 0)
        );
    }

    #[test]
    fn what_is_too_old_is_not_tried() {
        let (mapping, mut rest) = (mapping(true, None), batch(0..5));
        let old = cut_old(&mapping, &mut rest, 13_000).unwrap();
        assert_eq!((numbers(&old), numbers(&rest)), (vec![0, 1, 2], vec![3, 4]));
        assert!(cut_old(&mapping, &mut rest, 13_000).is_none());
        assert_eq!(
            numbers(&cut_old(&mapping, &mut rest, 60_000).unwrap()),
            [3, 4]
        );
    }
}
