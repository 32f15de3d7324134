//! How messages come to functions: by records of the table's stream, or by a call that names one.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use millrace_core::order::Effect;
use millrace_store::dynamodb::{DynamoDb, posted};
use millrace_store::{Message, MessageId, StateStore};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;

/// "Act on this message."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Its number. Calls that are under way while a new version is deployed have it under the old name.
    #[serde(rename = "letter")]
    pub message: u64,
}

/// What is waited for, in a box: the types of what a release waits for lie deeper in each other than the compiler follows.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a function does about the effects that are its own.
pub trait Deliver: Clone + Send + Sync + 'static {
    /// Lets an effect happen. An error is passing trouble, in words for whoever looks; the effect comes again.
    fn act(&self, effect: &Effect) -> impl Future<Output = Result<(), String>> + Send;

    /// Tells whoever waits for an effect that it will not happen. An error is passing trouble.
    fn give_up(
        &self,
        effect: &Effect,
        reason: &str,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

impl Wake {
    /// The message that is meant.
    pub const fn id(&self) -> MessageId {
        MessageId(self.message)
    }
}

/// What whoever is woken for a message of somebody else says.
pub fn not_mine(effect: &Effect) -> String {
    if let Effect::Unreadable(problem) = effect {
        return unreadable(problem);
    }
    let kind = serde_json::to_value(effect)
        .ok()
        .and_then(|effect| effect["effect"].as_str().map(str::to_owned));
    format!(
        "`{}` is no effect of this function",
        kind.unwrap_or_default()
    )
}

/// What whoever cannot read a message says of it.
fn unreadable(problem: &str) -> String {
    format!(
        "the message cannot be read ({problem}); if it is a newer line's, deploy that and `millrace messages retry`"
    )
}

/// Acts on a message, as long as nobody has settled it, and settles it. Trouble that came as often as it may is given up.
pub async fn deliver(id: MessageId, state: &DynamoDb, to: &impl Deliver) -> Result<(), String> {
    let Some(message) = state.message(id).await.map_err(|error| error.to_string())? else {
        return Ok(());
    };
    match to.act(&message.effect).await {
        Ok(()) => {}
        Err(problem) if message.is_last() => {
            to.give_up(&message.effect, &Message::given_up(&problem))
                .await?
        }
        Err(problem) => return Err(problem),
    }
    state.settle(id).await.map_err(|error| error.to_string())
}

/// A function that is called. What it cannot do fails its call; where nobody waits for the answer, Lambda makes the call again.
pub async fn on_call<Q, A, F>(
    answer: impl Fn(Q) -> F + Clone + Send + Sync + 'static,
) -> Result<(), Error>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = Result<A, String>> + Send + 'static,
{
    let call = |event: LambdaEvent<Q>| {
        let answer: Boxed<'_, _> = Box::pin(answer(event.payload));
        async move { answer.await.map_err(|problem: String| logged(&problem)) }
    };
    run(service_fn(call)).await
}

/// A function that reads the table's stream. What it cannot do is named in its answer, and comes again alone or with what is behind
/// it (AWS Lambda Developer Guide, "Configuring partial batch response with DynamoDB and Lambda").
pub async fn by_records<F>(
    act: impl Fn(Message) -> F + Clone + Send + Sync + 'static,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let call = |event: LambdaEvent<Value>| {
        let act = act.clone();
        async move { Ok::<_, Error>(answer(&event.payload, &act).await) }
    };
    run(service_fn(call)).await
}

/// Acts on every message of a batch, also on those behind one that failed: they are of other builds.
async fn answer<F: Future<Output = Result<(), String>> + Send>(
    batch: &Value,
    act: &impl Fn(Message) -> F,
) -> Value {
    let mut failures = Vec::new();
    for record in batch["Records"].as_array().into_iter().flatten() {
        let change = &record["dynamodb"];
        let done = match posted(&change["NewImage"]) {
            None => Ok(()),
            Some(Ok(Message {
                effect: Effect::Unreadable(problem),
                ..
            })) => Err(unreadable(&problem)),
            Some(Ok(message)) => {
                let acting: Boxed<'_, _> = Box::pin(act(message));
                acting.await
            }
            Some(Err(error)) => Err(error.to_string()),
        };
        if let Err(problem) = done {
            logged(&problem);
            failures.push(json!({ "itemIdentifier": change["SequenceNumber"] }));
        }
    }
    json!({ "batchItemFailures": failures })
}

/// Says what is wrong in the function's log, and fails with it.
fn logged(problem: &str) -> Error {
    eprintln!("millrace: {problem}; it is tried again");
    problem.to_owned().into()
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
            async move {
                if fails {
                    Err("not now".to_owned())
                } else {
                    Ok(())
                }
            }
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
        let act = |_: Message| async { Err("nothing comes here".to_owned()) };
        assert_eq!(
            answer(&json!({ "Records": [] }), &act).await,
            json!({ "batchItemFailures": [] })
        );
    }
}
