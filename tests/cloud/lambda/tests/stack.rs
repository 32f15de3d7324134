//! A small stack in the emulated account, removed when the test is over.

use crate::lambda::account::Account;
use crate::lambda::tests::child;
use crate::lambda::{Lambda, Options};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use millrace_tests::wait::wait_until_async;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// The version of CloudFormation's API.
const VERSION: &str = "2010-05-15";

/// What is deployed, and the program of its functions.
pub struct Stack {
    pub account: Account,
    pub name: String,
    folder: TempDir,
}

impl Stack {
    /// Deploys it; functions may do what a role allows them.
    pub async fn deploy(may: &[(&str, &str)]) -> Self {
        let endpoint = std::env::var("MILLRACE_TEST_AWS")
            .expect("`cargo xtask test --cloud` says where the services are");
        let (account, name) = (
            Account::at(&endpoint),
            format!("lt{:08x}", fastrand::u32(..)),
        );
        let template = template(may).to_string();
        let fields = [
            ("Action", "CreateStack"),
            ("StackName", name.as_str()),
            ("TemplateBody", template.as_str()),
            ("Capabilities.member.1", "CAPABILITY_IAM"),
        ];
        account
            .form("cloudformation", VERSION, &fields)
            .await
            .unwrap();
        let fields = [("Action", "DescribeStacks"), ("StackName", name.as_str())];
        wait_until_async(
            || format!("the stack {name}"),
            async || {
                let told = account
                    .form("cloudformation", VERSION, &fields)
                    .await
                    .unwrap();
                let is_complete = told.contains("CREATE_COMPLETE");
                assert!(is_complete || told.contains("CREATE_IN_PROGRESS"), "{told}");
                is_complete
            },
        )
        .await;
        let folder = TempDir::new().unwrap();
        child::write(folder.path());
        Self {
            account,
            name,
            folder,
        }
    }

    /// What runs it; a test may want something else.
    pub fn options(&self) -> Options {
        let program = self.folder.path().join("child");
        let mut options = Options::new(&self.account.endpoint, &self.name, move |_, _| {
            program.clone()
        });
        options.pause = Duration::from_millis(10);
        options
    }

    /// Runs it.
    pub async fn start(&self) -> Lambda {
        Lambda::start(self.options()).await.unwrap()
    }

    /// Changes an item of its table: its key, and what it has besides.
    pub async fn put(&self, pk: &str, sk: &str) {
        let item = json!({ "pk": { "S": pk }, "sk": { "S": sk } });
        let question = json!({ "TableName": format!("{}-table", self.name), "Item": item });
        self.account
            .ask("dynamodb", "DynamoDB_20120810.PutItem", &question)
            .await
            .unwrap();
    }

    /// Takes everything out of its queue.
    pub async fn failed(&self) -> Vec<Value> {
        let name = json!({ "QueueName": format!("{}-dead", self.name) });
        let queue = self
            .account
            .ask("sqs", "AmazonSQS.GetQueueUrl", &name)
            .await
            .unwrap();
        let question = json!({ "QueueUrl": queue["QueueUrl"], "MaxNumberOfMessages": 10 });
        let found = self
            .account
            .ask("sqs", "AmazonSQS.ReceiveMessage", &question)
            .await
            .unwrap();
        let messages = found["Messages"].as_array().into_iter().flatten();
        messages
            .map(|message| serde_json::from_str(message["Body"].as_str().unwrap()).unwrap())
            .collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let (account, name) = (Account::at(&self.account.endpoint), self.name.clone());
        let thread = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let fields = [("Action", "DeleteStack"), ("StackName", name.as_str())];
                account
                    .form("cloudformation", VERSION, &fields)
                    .await
                    .unwrap();
            });
        });
        // Whatever is left over is reported by the test's own failure.
        let _ = thread.join();
    }
}

/// The lines of a function's output that begin with a word, without it.
pub fn lines(lambda: &Lambda, function: &str, word: &str) -> Vec<String> {
    let log = std::fs::read_to_string(lambda.log(function)).unwrap_or_default();
    log.lines()
        .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
        .map(str::to_owned)
        .collect()
}

/// What somebody hears who asks an address.
pub async fn send(method: Method, url: String, body: Vec<u8>) -> (StatusCode, Vec<String>, Value) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "text/plain")
        .body(Body::from(body));
    let answer = client.request(request.unwrap()).await.unwrap();
    let cookies = answer
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|cookie| cookie.to_str().unwrap().to_owned())
        .collect();
    let (status, body) = (
        answer.status(),
        answer.into_body().collect().await.unwrap().to_bytes(),
    );
    (
        status,
        cookies,
        serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))),
    )
}

/// One function that everything invokes, and two that others may call.
fn template(may: &[(&str, &str)]) -> Value {
    let named = |rest: &str| json!({ "Fn::Sub": format!("${{AWS::StackName}}-{rest}") });
    let get = |thing: &str, what: &str| json!({ "Fn::GetAtt": [thing, what] });
    let resource = |kind: &str, properties: Value| json!({ "Type": format!("AWS::{kind}"), "Properties": properties });
    let function = |name: &str| {
        let properties = json!({
            "FunctionName": named(name), "Runtime": "provided.al2023", "Handler": name, "Code": { "ZipFile": "none" },
            "Role": get("Role", "Arn"), "Timeout": 20, "MemorySize": 256, "Environment": { "Variables": { "OWN": "as deployed" } },
        });
        resource("Lambda::Function", properties)
    };
    let statements: Vec<Value> =
        may.iter().map(|(action, on)| json!({ "Effect": "Allow", "Action": action, "Resource": { "Fn::Sub": on } })).collect();
    let trusted = json!({ "Effect": "Allow", "Principal": { "Service": "lambda.amazonaws.com" }, "Action": "sts:AssumeRole" });
    let policy = json!({ "PolicyName": "may", "PolicyDocument": { "Version": "2012-10-17", "Statement": statements } });
    let dead = json!({ "OnFailure": { "Destination": get("Dead", "Arn") } });
    let route = |key: &str| {
        resource(
            "ApiGatewayV2::Route",
            json!({ "ApiId": { "Ref": "Api" }, "RouteKey": key, "Target": { "Fn::Sub": "integrations/${Behind}" } }),
        )
    };
    json!({ "Resources": {
        "Role": resource("IAM::Role", json!({
            "AssumeRolePolicyDocument": { "Version": "2012-10-17", "Statement": [trusted] }, "Policies": [policy],
        })),
        "Table": resource("DynamoDB::Table", json!({
            "TableName": named("table"), "BillingMode": "PAY_PER_REQUEST", "StreamSpecification": { "StreamViewType": "NEW_IMAGE" },
            "AttributeDefinitions": [
                { "AttributeName": "pk", "AttributeType": "S" },
                { "AttributeName": "sk", "AttributeType": "S" },
            ],
            "KeySchema": [{ "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }],
        })),
        "Dead": resource("SQS::Queue", json!({ "QueueName": named("dead") })),
        "Worker": function("worker"),
        "Friend": function("friend"),
        "Stranger": function("stranger"),
        "Url": resource("Lambda::Url", json!({ "AuthType": "NONE", "TargetFunctionArn": get("Worker", "Arn") })),
        "Later": resource("Lambda::EventInvokeConfig", json!({
            "FunctionName": { "Ref": "Worker" }, "Qualifier": "$LATEST", "MaximumRetryAttempts": 1, "DestinationConfig": dead,
        })),
        "Mapping": resource("Lambda::EventSourceMapping", json!({
            "FunctionName": { "Ref": "Worker" }, "EventSourceArn": get("Table", "StreamArn"), "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 10, "BisectBatchOnFunctionError": true, "MaximumRetryAttempts": 2, "MaximumRecordAgeInSeconds": 3600,
            "FunctionResponseTypes": ["ReportBatchItemFailures"], "DestinationConfig": dead,
            "FilterCriteria": { "Filters": [{ "Pattern": r#"{"dynamodb":{"Keys":{"pk":{"S":["letter"]}}}}"# }] },
        })),
        "Api": resource("ApiGatewayV2::Api", json!({ "Name": named("api"), "ProtocolType": "HTTP" })),
        "Behind": resource("ApiGatewayV2::Integration", json!({
            "ApiId": { "Ref": "Api" }, "IntegrationType": "AWS_PROXY", "IntegrationUri": get("Worker", "Arn"),
            "PayloadFormatVersion": "2.0",
        })),
        "Hook": route("POST /hook/{proxy+}"),
        "Page": route("GET /page"),
        "Let": resource("Lambda::Permission", json!({
            "FunctionName": { "Ref": "Worker" }, "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com",
            "SourceArn": { "Fn::Sub": "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*/GET/page" },
        })),
        "Stage": resource("ApiGatewayV2::Stage", json!({ "ApiId": { "Ref": "Api" }, "StageName": "$default", "AutoDeploy": true })),
        "Tick": resource("Events::Rule", json!({
            "ScheduleExpression": "rate(1 day)", "Targets": [{ "Id": "one", "Arn": get("Friend", "Arn") }],
        })),
        "Daily": resource("Scheduler::Schedule", json!({
            "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": { "Mode": "OFF" },
            "Target": { "Arn": get("Stranger", "Arn"), "RoleArn": get("Role", "Arn"), "Input": r#"{"do":"daily"}"# },
        })),
    } })
}
