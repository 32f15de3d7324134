//! The stack that `cargo xtask test --cloud` deployed, as its owner sees it who may do everything.

use crate::lambda::Account;
use crate::services::{client, config_at};
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// Where the services are that respect every permission.
const STRICT: &str = "MILLRACE_TEST_AWS_STRICT";
/// The stack's name.
const STACK: &str = "MILLRACE_TEST_STACK";
/// Its outputs, as JSON.
const OUTPUTS: &str = "MILLRACE_TEST_OUTPUTS";
/// Another stack's name, whose key is brought along into a secret.
const BRINGING_STACK: &str = "MILLRACE_TEST_BRINGING_STACK";
/// Its outputs.
const BRINGING_OUTPUTS: &str = "MILLRACE_TEST_BRINGING_OUTPUTS";

/// What the test run says in the environment.
pub fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: `cargo xtask test --cloud` sets it"))
}

/// A stack that is up.
#[derive(Clone)]
pub struct Stack {
    pub name: String,
    /// Where its services are.
    pub endpoint: String,
    outputs: Value,
    account: Account,
}

impl Stack {
    /// The one of this test run.
    pub fn here() -> Self {
        Self::named(STACK, OUTPUTS)
    }

    /// The one of this test run whose key is brought along.
    pub fn bringing() -> Self {
        Self::named(BRINGING_STACK, BRINGING_OUTPUTS)
    }

    fn named(stack: &str, outputs: &str) -> Self {
        let endpoint = variable(STRICT);
        let account = Account::at(&endpoint);
        Self {
            name: variable(stack),
            endpoint,
            outputs: serde_json::from_str(&variable(outputs)).unwrap(),
            account,
        }
    }

    /// Its keys and where they lie.
    pub fn keys(&self) -> &str {
        self.output("Keys")
    }

    /// The secret that its key is put into. The emulator gives it a value that is empty, and the service none.
    pub async fn empty_secret(&self) -> String {
        let secret = self.output("SigningSecret").to_owned();
        let about = self
            .ask_of_secrets("DescribeSecret", json!({ "SecretId": secret }))
            .await;
        for version in about["VersionIdsToStages"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(version, _)| version)
        {
            let taken = json!({ "SecretId": secret, "VersionStage": "AWSCURRENT", "RemoveFromVersionId": version });
            self.ask_of_secrets("UpdateSecretVersionStage", taken).await;
        }
        secret
    }

    /// Whether a function's role lets it do something with a thing (AWS IAM API Reference, "SimulatePrincipalPolicy").
    pub async fn may(&self, function: &str, action: &str, thing: &str) -> bool {
        let path = format!(
            "/2015-03-31/functions/{}-{function}/configuration",
            self.name
        );
        let about = self.account.get("lambda", &path).await.unwrap();
        let fields = [
            ("Action", "SimulatePrincipalPolicy"),
            ("PolicySourceArn", about["Role"].as_str().unwrap()),
            ("ActionNames.member.1", action),
            ("ResourceArns.member.1", thing),
        ];
        let said = self
            .account
            .form("iam", "2010-05-08", &fields)
            .await
            .unwrap();
        match said
            .split_once("<EvalDecision>")
            .and_then(|(_, rest)| rest.split_once('<'))
            .map(|(decision, _)| decision)
        {
            Some("allowed") => true,
            Some("implicitDeny" | "explicitDeny") => false,
            other => panic!("{other:?}: {said}"),
        }
    }

    async fn ask_of_secrets(&self, verb: &str, question: Value) -> Value {
        self.account
            .ask(
                "secretsmanager",
                &format!("secretsmanager.{verb}"),
                &question,
            )
            .await
            .unwrap()
    }

    fn output(&self, name: &str) -> &str {
        self.outputs[name]
            .as_str()
            .unwrap_or_else(|| panic!("the stack has no output {name}: {}", self.outputs))
    }

    /// The name of its table.
    pub fn table(&self) -> &str {
        self.output("Table")
    }

    /// The name of its bucket.
    pub fn bucket(&self) -> &str {
        self.output("Bucket")
    }

    /// The bucket's policy refuses callers that come without TLS, as everybody does here: the emulator speaks plain HTTP.
    pub async fn let_plain_http_in(&self) {
        let config = config_at(Some(&self.endpoint)).await;
        client(&config)
            .delete_bucket_policy()
            .bucket(self.bucket())
            .send()
            .await
            .unwrap();
    }

    /// What forges sign their webhooks with.
    pub async fn secret(&self) -> String {
        let said = self
            .ask_of_secrets(
                "GetSecretValue",
                json!({ "SecretId": self.output("WebhookSecret") }),
            )
            .await;
        said["SecretString"].as_str().unwrap().to_owned()
    }

    /// How many messages nobody has settled.
    pub async fn messages(&self) -> u64 {
        let question = json!({
            "TableName": self.table(), "Select": "COUNT", "ConsistentRead": true, "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": { ":pk": { "S": "letter" } },
        });
        let said = self
            .account
            .ask("dynamodb", "DynamoDB_20120810.Query", &question)
            .await
            .unwrap();
        said["Count"].as_u64().unwrap()
    }

    /// The address of the queue of dead letters.
    pub fn dead_letter_queue(&self) -> &str {
        self.output("DeadLetters")
    }

    /// Writes a message as it stands, or over one that is there; it is posted by that.
    pub async fn post(&self, number: u64, effect: &Value) {
        let sk = format!("{number:020}");
        let item = json!({
            "pk": { "S": "letter" }, "sk": { "S": sk }, "effect": { "S": effect.to_string() }, "kind": { "S": effect["effect"] },
            "deliveries": { "N": "0" }, "tray": { "S": "out" }, "due": { "S": format!("{:020}/{sk}", 0) },
        });
        let question = json!({ "TableName": self.table(), "Item": item });
        self.account
            .ask("dynamodb", "DynamoDB_20120810.PutItem", &question)
            .await
            .unwrap();
    }

    /// How many messages lie with the dead letters, as its keeper counts them.
    pub async fn dead(&self) -> u64 {
        let question = json!({ "QueueUrl": self.dead_letter_queue(), "AttributeNames": ["ApproximateNumberOfMessages"] });
        let said = self
            .account
            .ask("sqs", "AmazonSQS.GetQueueAttributes", &question)
            .await
            .unwrap();
        said["Attributes"]["ApproximateNumberOfMessages"]
            .as_str()
            .and_then(|count| count.parse().ok())
            .unwrap_or_default()
    }

    /// What lies with the dead letters, taken from there.
    pub async fn dead_letters(&self) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let question =
                json!({ "QueueUrl": self.dead_letter_queue(), "MaxNumberOfMessages": 10 });
            let said = self
                .account
                .ask("sqs", "AmazonSQS.ReceiveMessage", &question)
                .await
                .unwrap();
            let messages = said["Messages"].as_array().cloned().unwrap_or_default();
            if messages.is_empty() {
                return found;
            }
            for message in messages {
                found.push(message["Body"].as_str().unwrap_or_default().to_owned());
                let settle = json!({ "QueueUrl": self.dead_letter_queue(), "ReceiptHandle": message["ReceiptHandle"] });
                self.account
                    .ask("sqs", "AmazonSQS.DeleteMessage", &settle)
                    .await
                    .unwrap();
            }
        }
    }
}

/// A request, and what is answered: status and body.
pub async fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client
        .request(request.body(Body::from(body.to_owned())).unwrap())
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}
