//! Commands that look at messages on their way, send them again, and put back what was lost.

use crate::actor;
use crate::arguments::Messages;
use crate::output::Output;
use crate::state::{Folder, now};
#[cfg(feature = "cloud")]
use crate::store::Store;
use anyhow::Result;
#[cfg(feature = "cloud")]
use anyhow::bail;
use millrace_control::message::{self, RetryMessages, Unsettled};
use millrace_core::order::Effect;
use millrace_store::MessageId;
use millrace_store::deliver::wants;
use serde_json::{Value, json};

pub(super) async fn messages(folder: &Folder, output: Output, command: Messages) -> Result<()> {
    let store = folder.store().await?;
    match command {
        Messages::List => {
            let all = message::list(&store).await?;
            let values: Vec<Value> = all.iter().map(as_json).collect();
            output.list(&values, "no message is on its way", line)
        }
        Messages::Retry { messages } => {
            let is_all = messages.is_empty();
            let which = match is_all {
                false => RetryMessages::Named(messages.into_iter().map(MessageId).collect()),
                true if store.is_in_cloud() => RetryMessages::All,
                true => RetryMessages::Delivered,
            };
            let again = message::retry(&actor::local(), which, &store, now()).await?;
            if is_all {
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

fn as_json(unsettled: &Unsettled) -> Value {
    let Unsettled {
        message,
        is_dead_letter,
    } = unsettled;
    let of = match &message.effect {
        Effect::Fetch(announced) => announced.id.to_string(),
        Effect::Plan(push) => push.announced.id.to_string(),
        Effect::Ready { build, .. } | Effect::Ended { build } => build.to_string(),
        Effect::Sign(order) => order.build.to_string(),
        Effect::Release(order) => order.build.to_string(),
        Effect::FetchNames { platform } | Effect::ClaimReleased { platform } => {
            platform.to_string()
        }
        Effect::Unreadable(problem) => format!("cannot be read: {problem}"),
    };
    json!({
        "message": message.id.0,
        "wants": wants(&message.effect),
        "of": of,
        "deliveries": message.deliveries,
        "dead_letter": is_dead_letter,
        // As `millrace events` called them; they go with it.
        "event": message.id.0,
        "set_aside": is_dead_letter,
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
    use millrace_store::Message;

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
        let unsettled = Unsettled {
            message,
            is_dead_letter: true,
        };
        assert_eq!(
            line(&as_json(&unsettled)),
            "7                      ended    0123456789ab                       10 deliveries, dead letter"
        );
    }
}
