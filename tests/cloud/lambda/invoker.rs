//! All functions, and the events that nobody waits for: tried again, and reported to a queue once they failed for good.

use crate::lambda::account::{Account, ROOT};
use crate::lambda::activity::{Activity, Busy};
use crate::lambda::clock::{iso, now_ms};
use crate::lambda::deployed::{Schedule, function_of};
use crate::lambda::faults::Faults;
use crate::lambda::function::{Failure, Function};
use crate::lambda::rights::lets;
use axum::body::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// All functions of a stack.
pub struct Invoker {
    /// The account that they are in.
    pub account: Account,
    /// Functions by their names.
    pub functions: BTreeMap<String, Arc<Function>>,
    /// Roles by the access keys that functions have.
    pub roles: BTreeMap<String, String>,
    /// Whether nobody may do more than his role allows.
    pub auth: bool,
    /// What happens to events on their way.
    pub faults: Faults,
    /// The pause before something is tried again. AWS waits one minute and then two.
    pub pause: Duration,
    /// Calls of functions by each other so far.
    pub calls: AtomicUsize,
    /// What is under way.
    pub activity: Activity,
    /// What AWS would have swallowed.
    pub troubles: Troubles,
    /// Events that nobody waits for, on their way.
    pub deliveries: Mutex<JoinSet<()>>,
}

/// What goes wrong where AWS tells nobody: a test that ends well has none.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<Vec<String>>>);

impl Troubles {
    /// Adds one.
    pub fn add(&self, trouble: String) {
        eprintln!("lambda: {trouble}");
        self.0.lock().unwrap().push(trouble);
    }

    /// All of them, in order.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Invoker {
    /// A function by its name, its full name, or what its stack calls it.
    pub fn find(&self, named: &str) -> Option<&Arc<Function>> {
        self.functions.get(function_of(named))
    }

    /// Begins an invocation for which nobody waits; the answer is its id.
    pub fn later(self: &Arc<Self>, function: &Arc<Function>, payload: Bytes) -> String {
        let (invoker, function, id, busy) = (
            Arc::clone(self),
            Arc::clone(function),
            new_id(),
            self.activity.begin(),
        );
        let told = id.clone();
        let delivery = async move { invoker.deliver(&function, &id, payload, busy).await };
        self.deliveries.lock().unwrap().spawn(delivery);
        told
    }

    async fn deliver(&self, function: &Arc<Function>, id: &str, payload: Bytes, busy: Busy) {
        self.faults.wait().await;
        for _ in 0..self.faults.deliveries() {
            if let Err(error) = self.try_all(function, id, &payload).await {
                self.give_up(function, id, &payload, error).await;
                break;
            }
        }
        drop(busy);
    }

    /// Tries until it works or the retries are used up; having to wait for room uses up none.
    async fn try_all(
        &self,
        function: &Arc<Function>,
        id: &str,
        payload: &Bytes,
    ) -> Result<(), Value> {
        let mut retries = 0;
        loop {
            match function.invoke(id, payload.clone()).await {
                Ok(_) => return Ok(()),
                Err(Failure::Error(words)) if retries == function.settings.retries_max => {
                    return Err(words);
                }
                Err(Failure::Error(_)) => retries += 1,
                Err(Failure::Throttled) => {}
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    async fn give_up(&self, function: &Arc<Function>, id: &str, payload: &Bytes, error: Value) {
        let mut record = destination_record(
            &function.settings.arn,
            id,
            "RetriesExhausted",
            function.settings.retries_max + 1,
            true,
        );
        record["requestPayload"] = serde_json::from_slice(payload).unwrap_or_default();
        record["responsePayload"] = error;
        self.tell(function, function.settings.on_failure.as_deref(), &record)
            .await;
    }

    /// Puts a record into the queue of what failed for good, if there is one and the function's role may.
    pub async fn tell(&self, function: &Function, queue: Option<&str>, record: &Value) {
        let name = &function.settings.name;
        let Some(queue) = queue else {
            return self
                .troubles
                .add(format!("{name} has no queue for {record}"));
        };
        match self
            .role_may(&function.settings.role, "sqs:SendMessage", queue)
            .await
        {
            Ok(true) => {
                if let Err(error) = self.account.send(queue, record).await {
                    self.troubles.add(format!("{queue}: {error}"));
                }
            }
            Ok(false) => self
                .troubles
                .add(format!("{name} may not tell {queue} of {record}")),
            Err(error) => self.troubles.add(error.to_string()),
        }
    }

    /// Whether a role allows something; everything is allowed where nobody looks.
    pub async fn role_may(
        &self,
        role: &str,
        action: &str,
        resource: &str,
    ) -> std::io::Result<bool> {
        if !self.auth {
            return Ok(true);
        }
        self.account.allows(role, action, resource).await
    }

    /// Whether a function admits somebody who has no role, on behalf of a thing.
    pub fn policy_lets(&self, function: &Function, who: &str, action: &str, thing: &str) -> bool {
        !self.auth || lets(&function.settings.policy, who, action, thing)
    }

    /// Whether a schedule's role may invoke a function, or the function lets the rule in.
    pub async fn lets_in(&self, schedule: &Schedule, function: &Function) -> bool {
        const INVOKE: &str = "lambda:InvokeFunction";
        match &schedule.role {
            Some(role) => self
                .role_may(role, INVOKE, &function.settings.arn)
                .await
                .unwrap_or(false),
            None => self.policy_lets(function, "events.amazonaws.com", INVOKE, &schedule.arn),
        }
    }

    /// Whether the holder of an access key may invoke a function.
    pub async fn may_invoke(&self, access_key: Option<&str>, function: &Function) -> bool {
        if !self.auth || access_key == Some(ROOT) {
            return true;
        }
        let Some(role) = access_key.and_then(|key| self.roles.get(key)) else {
            return false;
        };
        self.account
            .allows(role, "lambda:InvokeFunction", &function.settings.arn)
            .await
            .unwrap_or(false)
    }
}

/// A new name of an invocation, in the form of a UUID of version 4.
pub fn new_id() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// What a queue is told of an invocation that failed for good (AWS Lambda Developer Guide, "Capturing records of asynchronous
/// invocations"), but for what the invocation was about.
pub fn destination_record(
    arn: &str,
    id: &str,
    condition: &str,
    count: u32,
    is_error: bool,
) -> Value {
    let mut record = json!({
        "version": "1.0",
        "timestamp": iso(now_ms()),
        "requestContext": {
            "requestId": id,
            "functionArn": arn,
            "condition": condition,
            "approximateInvokeCount": count,
        },
        "responseContext": { "statusCode": 200, "executedVersion": "$LATEST" },
    });
    if is_error {
        record["responseContext"]["functionError"] = json!("Unhandled");
    }
    record
}
