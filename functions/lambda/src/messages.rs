//! How messages come to functions: by records of the table's stream, or by a call that names one.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use millrace_store::deliver::{act, give_up, span};
use millrace_store::dynamodb::{DynamoDb, posted};
use millrace_store::{Deliver, DeliverError, Message, MessageId, Recipient, chain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use tracing::{Instrument, info_span, warn};

/// "Act on this message."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Its number. Calls that are under way while a new version is deployed have it under the old name.
    #[serde(rename = "letter")]
    pub message: u64,
}

/// What is waited for, in a box: the types of what a release waits for lie deeper in each other than the compiler follows.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Wake {
    /// The message that is meant.
    pub const fn id(&self) -> MessageId {
        MessageId(self.message)
    }
}

/// Trouble that is in the log already, with the ids of what it happened to. The call fails, and is made again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoggedError(String);

impl LoggedError {
    /// Logs trouble, in the span in which it happened.
    fn log(error: &(dyn std::error::Error + 'static)) -> Self {
        let problem = chain(error);
        warn!(problem, "it is tried again");
        Self(problem)
    }
}

/// Acts on a message, as long as nobody has settled it, and settles it. Trouble that came as often as it may is given up.
pub async fn deliver(
    id: MessageId,
    state: &DynamoDb,
    to: &impl Deliver,
) -> Result<(), LoggedError> {
    let unread = info_span!("message", id = id.0);
    let found = state.message(id).await;
    let found = found.map_err(|error| unread.in_scope(|| LoggedError::log(&error)))?;
    let Some(message) = found else {
        return Ok(());
    };
    let span = span(&message);
    let acting = async {
        let done = match act(&message, state, to).await {
            Err(DeliverError::Trouble(error)) if message.is_last() => {
                give_up(&message, &chain(&*error), state, to).await
            }
            done => done,
        };
        done.map_err(|error| LoggedError::log(&error))
    };
    acting.instrument(span).await
}

/// A function that is called. What it cannot do fails its call; if nobody waits for the answer, Lambda makes the call again.
pub async fn on_call<Q, A, E, F>(
    answer: impl Fn(Q) -> F + Clone + Send + Sync + 'static,
) -> Result<(), Error>
where
    Q: DeserializeOwned,
    A: Serialize,
    E: Into<Error> + 'static,
    F: Future<Output = Result<A, E>> + Send + 'static,
{
    let call = |event: LambdaEvent<Q>| {
        let answer: Boxed<'_, _> = Box::pin(answer(event.payload));
        async move { answer.await.map_err(|error| logged(error.into())) }
    };
    run(service_fn(call)).await
}

/// A function that reads the table's stream. What it cannot do is named in its answer, and comes again alone or with what is behind
/// it (AWS Lambda Developer Guide, "Configuring partial batch response with DynamoDB and Lambda").
pub async fn by_records<F>(
    act: impl Fn(Message) -> F + Clone + Send + Sync + 'static,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let call = |event: LambdaEvent<Value>| {
        let act = act.clone();
        async move { Ok::<_, Error>(answer(&event.payload, &act).await) }
    };
    run(service_fn(call)).await
}

/// Acts on every message of a batch, also on those behind one that failed: they are of other builds.
async fn answer<F: Future<Output = Result<(), Error>> + Send>(
    batch: &Value,
    act: &impl Fn(Message) -> F,
) -> Value {
    let mut failures = Vec::new();
    for record in batch["Records"].as_array().into_iter().flatten() {
        let change = &record["dynamodb"];
        let done = match posted(&change["NewImage"]) {
            None => Ok(()),
            Some(Ok(message)) => {
                let span = span(&message);
                let acting = acted(message, act).instrument(span);
                let acting: Boxed<'_, _> = Box::pin(acting);
                acting.await
            }
            Some(Err(error)) => Err(logged(error.into())),
        };
        if done.is_err() {
            failures.push(json!({ "itemIdentifier": change["SequenceNumber"] }));
        }
    }
    json!({ "batchItemFailures": failures })
}

/// Acts on a message of a batch, unless nobody here can read it.
fn acted<F: Future<Output = Result<(), Error>> + Send>(
    message: Message,
    act: &impl Fn(Message) -> F,
) -> impl Future<Output = Result<(), Error>> + Send {
    let acting = Recipient::of(&message.effect).map(|_| act(message));
    async {
        match acting {
            Ok(acting) => acting.await.map_err(logged),
            Err(unreadable) => Err(logged(unreadable.into())),
        }
    }
}

/// Sees to it that trouble is in the log, once.
fn logged(error: Error) -> Error {
    if error.is::<LoggedError>() {
        error
    } else {
        LoggedError::log(&*error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn record(pk: &str, number: u64, effect: &str) -> Value {
        json!({ "eventName": "INSERT", "dynamodb": {
            "Keys": { "pk": { "S": pk }, "sk": { "S": format!("{number:020}") } },
            "NewImage": { "pk": { "S": pk }, "sk": { "S": format!("{number:020}") }, "effect": { "S": effect }, "deliveries": { "N": "2" } },
            "SequenceNumber": format!("00{number}"),
        }})
    }

    const ENDED: &str = r#"{"effect":"ended","build":"b-1"}"#;

    #[tokio::test]
    async fn what_fails_of_a_batch_is_named_and_the_others_are_done() {
        let batch = json!({ "Records": [record("letter", 1, ENDED), record("letter", 2, ENDED), record("record/build", 3, ENDED),
            record("letter", 4, "{}"), record("letter", 5, ENDED)] });
        let done = Mutex::new(Vec::new());
        let act = |message: Message| {
            assert_eq!(message.deliveries, 2);
            let fails = message.id.0 == 2;
            if !fails {
                done.lock().unwrap().push(message.id.0);
            }
            async move { if fails { Err("not now".into()) } else { Ok(()) } }
        };
        let told = answer(&batch, &act).await;
        assert_eq!(
            told,
            json!({ "batchItemFailures": [{ "itemIdentifier": "002" }, { "itemIdentifier": "004" }] })
        );
        assert_eq!(*done.lock().unwrap(), [1, 5]);
    }

    #[tokio::test]
    async fn an_empty_batch_has_no_failures() {
        let act = |_: Message| async { Err("nothing comes here".into()) };
        assert_eq!(
            answer(&json!({ "Records": [] }), &act).await,
            json!({ "batchItemFailures": [] })
        );
    }
}
