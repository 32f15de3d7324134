//! Commands that look at messages on their way, send them again, and put back what was lost.

use crate::arguments::Messages;
use crate::ending::NotFound;
use crate::output::Output;
use crate::state::{Folder, now};
use crate::store::Store;
use anyhow::{Result, bail};
use millrace_core::order::Effect;
use millrace_store::deliver::wants;
use millrace_store::{Message, MessageId, StateStore};
use serde_json::{Value, json};

/// Messages looked at: more than a line has on its way at its busiest.
const LOOKED_AT_MAX: usize = 10_000;

pub(super) async fn messages(folder: &Folder, output: Output, command: Messages) -> Result<()> {
    let store = folder.store().await?;
    match command {
        Messages::List => {
            let values: Vec<Value> = all(&store)
                .await?
                .iter()
                .map(|(message, dead)| as_json(message, *dead))
                .collect();
            output.list(&values, "nothing is on its way", line)
        }
        Messages::Retry { messages } => {
            let named = !messages.is_empty();
            let ids = if named {
                messages.into_iter().map(MessageId).collect()
            } else {
                delivered_before(&store).await?
            };
            let mut again = 0;
            for id in ids {
                if store.put_back(id, now()).await? {
                    again += 1;
                } else if named {
                    bail!(NotFound(format!(
                        "no message {}: it is settled, or never was; `millrace messages list`",
                        id.0
                    )));
                }
            }
            if !named {
                folder.forget_dead_letters().await?;
            }
            output.one(&json!({"again": again}), |_| match again {
                0 => "nothing to deliver again".to_owned(),
                1 => "one message is delivered again".to_owned(),
                _ => format!("{again} messages are delivered again"),
            })
        }
    }
}

/// Puts records and messages back from another table.
#[cfg(feature = "cloud")]
pub(super) async fn restore(folder: &Folder, output: Output, from: &str) -> Result<()> {
    let Store::Cloud(state, _) = folder.store().await? else {
        bail!("this is for a line in the cloud: name it with --table and --bucket");
    };
    let items = state.restore_from(from).await?;
    output.one(&json!({"items": items}), |_| {
        format!("{items} items are as they are in the table {from}")
    })
}

/// What nobody has settled, the oldest first, and whether it is a dead letter.
async fn all(store: &Store) -> Result<Vec<(Message, bool)>> {
    let out = store
        .unsettled(LOOKED_AT_MAX)
        .await?
        .into_iter()
        .map(|message| (message, false));
    let dead = store
        .dead_letters(LOOKED_AT_MAX)
        .await?
        .into_iter()
        .map(|message| (message, true));
    let mut all: Vec<_> = out.chain(dead).collect();
    all.sort_by_key(|(message, _)| message.id);
    Ok(all)
}

/// Those with which somebody has had trouble. In the cloud, the first delivery is not counted: there all of them are.
async fn delivered_before(store: &Store) -> Result<Vec<MessageId>> {
    let troubled =
        |(message, dead): &(Message, bool)| *dead || message.deliveries > 0 || store.is_in_cloud();
    Ok(all(store)
        .await?
        .iter()
        .filter(|one| troubled(one))
        .map(|(message, _)| message.id)
        .collect())
}

fn as_json(message: &Message, dead: bool) -> Value {
    let of = match &message.effect {
        Effect::Fetch(announced) => announced.id.to_string(),
        Effect::Plan(push) => push.announced.id.to_string(),
        Effect::Ready { build, .. } | Effect::Ended { build } => build.to_string(),
        Effect::Sign(order) => order.build.to_string(),
        Effect::Release(order) => order.build.to_string(),
        Effect::Unreadable(problem) => format!("cannot be read: {problem}"),
    };
    json!({
        "message": message.id.0,
        "wants": wants(&message.effect),
        "of": of,
        "deliveries": message.deliveries,
        "dead_letter": dead,
        // As `millrace events` called them; they go with it.
        "event": message.id.0,
        "set_aside": dead,
    })
}

fn line(value: &Value) -> String {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let state = if value["dead_letter"] == true {
        "dead letter"
    } else {
        "on its way"
    };
    format!(
        "{:<22} {:<8} {:<34} {:>2} deliveries, {state}",
        value["message"].to_string(),
        text("wants"),
        text("of"),
        value["deliveries"]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::BuildId;

    #[test]
    fn a_message_is_a_line() {
        let effect = Effect::Ended {
            build: BuildId::new("0123456789ab").unwrap(),
        };
        let message = Message {
            id: MessageId(7),
            effect,
            deliveries: 10,
        };
        assert_eq!(
            line(&as_json(&message, true)),
            "7                      ended    0123456789ab                       10 deliveries, dead letter"
        );
    }
}
