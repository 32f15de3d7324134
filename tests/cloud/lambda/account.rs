//! The emulated account: calls of its services, made by its root, whose signature it does not check.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;

/// Everything is in one region.
pub const REGION: &str = "us-east-1";

/// The access key of the account's root, who may do everything.
pub const ROOT: &str = "test";

/// An account. Clones share their connections.
#[derive(Clone)]
pub struct Account {
    /// Where its services are.
    pub endpoint: Arc<str>,
    client: Client<HttpConnector, Body>,
}

/// Who a function is while it runs: its role, for an hour.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Names them; a service that is called tells by it who calls.
    pub access_key: String,
    pub secret: String,
    /// Goes along with every request.
    pub session: String,
}

impl Account {
    /// The account whose services are at an address.
    pub fn at(endpoint: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            client,
        }
    }

    /// Reads from a service that is asked by paths: Lambda, API Gateway, Scheduler.
    pub async fn get(&self, service: &str, path: &str) -> io::Result<Value> {
        parse(
            &self
                .call(service, Method::GET, path, &[], String::new())
                .await?,
        )
    }

    /// Asks a service that takes JSON and the name of what it is to do: DynamoDB, SQS, EventBridge.
    pub async fn ask(&self, service: &str, target: &str, question: &Value) -> io::Result<Value> {
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", target),
        ];
        parse(
            &self
                .call(service, Method::POST, "/", &headers, question.to_string())
                .await?,
        )
    }

    /// Asks a service that takes a form and answers XML: IAM, STS, CloudFormation.
    pub async fn form(
        &self,
        service: &str,
        version: &str,
        fields: &[(&str, &str)],
    ) -> io::Result<String> {
        let mut form = format!("Version={version}");
        for (name, value) in fields {
            form.push_str(&format!("&{name}={}", encoded(value)));
        }
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = self
            .call(service, Method::POST, "/", &headers, form)
            .await?;
        String::from_utf8(answer.to_vec()).map_err(io::Error::other)
    }

    /// Credentials of a role, as Lambda gets them for a function.
    pub async fn assume(&self, role: &str, session: &str) -> io::Result<Credentials> {
        let fields = [
            ("Action", "AssumeRole"),
            ("RoleArn", role),
            ("RoleSessionName", session),
        ];
        let answer = self.form("sts", "2011-06-15", &fields).await?;
        let get = |name| {
            element(&answer, name)
                .map(str::to_owned)
                .ok_or_else(|| io::Error::other(answer.clone()))
        };
        Ok(Credentials {
            access_key: get("AccessKeyId")?,
            secret: get("SecretAccessKey")?,
            session: get("SessionToken")?,
        })
    }

    /// Whether a role's policies let it do something to a thing.
    pub async fn allows(&self, role: &str, action: &str, resource: &str) -> io::Result<bool> {
        let fields = [
            ("Action", "SimulatePrincipalPolicy"),
            ("PolicySourceArn", role),
            ("ActionNames.member.1", action),
            ("ResourceArns.member.1", resource),
        ];
        let answer = self.form("iam", "2010-05-08", &fields).await?;
        Ok(element(&answer, "EvalDecision") == Some("allowed"))
    }

    /// Puts a message into a queue.
    pub async fn send(&self, queue_arn: &str, message: &Value) -> io::Result<()> {
        let name = queue_arn.rsplit(':').next().unwrap_or_default();
        let queue = self
            .ask(
                "sqs",
                "AmazonSQS.GetQueueUrl",
                &json!({ "QueueName": name }),
            )
            .await?;
        let question = json!({ "QueueUrl": queue["QueueUrl"], "MessageBody": message.to_string() });
        self.ask("sqs", "AmazonSQS.SendMessage", &question).await?;
        Ok(())
    }

    async fn call(
        &self,
        service: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> io::Result<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header(header::AUTHORIZATION, as_root(service));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).map_err(io::Error::other)?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(io::Error::other)?;
        let status = answer.status();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?
            .to_bytes();
        if status.is_success() {
            return Ok(bytes);
        }
        Err(io::Error::other(format!(
            "{service} {path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        )))
    }
}

/// What a request of the account's root to a service has for a signature.
pub fn as_root(service: &str) -> String {
    let scope = format!("Credential={ROOT}/20260101/{REGION}/{service}/aws4_request");
    format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0")
}

fn parse(bytes: &[u8]) -> io::Result<Value> {
    serde_json::from_slice(bytes).map_err(io::Error::other)
}

/// Text of the first XML element of a name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(text, _)| text)
}

/// A text as a form or a path has it (RFC 3986, section 2.1).
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The reverse. What is not a code stays as it is.
pub fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        let code = others
            .get(..2)
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match code {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &others[2..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The access key that signed a request (Signature Version 4, "Authorization header").
pub fn signer(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    authorization.split_once("Credential=")?.1.split('/').next()
}

#[test]
fn codes_are_read_and_the_rest_is_kept() {
    assert_eq!(encoded("gcc-c++ a/b"), "gcc-c%2B%2B%20a%2Fb");
    assert_eq!(decoded("gcc-c%2B+%2b%zz%"), "gcc-c+++%zz%");
    assert_eq!(element("<a><b>1</b><b>2</b></a>", "b"), Some("1"));
}
