//! A proxy that counts what the services are asked, as they would bill it.

use crate::lambda::as_root;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What was asked, by its name on the bill.
pub type Bill = BTreeMap<&'static str, f64>;

/// A proxy that counts, as long as this lives.
pub struct Meter {
    pub endpoint: String,
    bill: Arc<Mutex<Bill>>,
    serving: JoinHandle<()>,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Meter {
    /// One that stands before the services.
    pub async fn before(services: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (bill, to) = (
            Arc::<Mutex<Bill>>::default(),
            services.trim_end_matches('/').to_owned(),
        );
        let (counts, client) = (
            Arc::clone(&bill),
            Client::builder(TokioExecutor::new()).build_http(),
        );
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, client, to) = (Arc::clone(&counts), client.clone(), to.clone());
                let service = service_fn(move |request| {
                    through(Arc::clone(&counts), client.clone(), to.clone(), request)
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            endpoint,
            bill,
            serving,
        }
    }

    /// What was asked since the last reading.
    pub fn read(&self) -> Bill {
        std::mem::take(&mut *self.bill.lock().unwrap())
    }
}

async fn through(
    bill: Arc<Mutex<Bill>>,
    client: Client<HttpConnector, Body>,
    to: String,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let mut body: Bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let target = text(&parts.headers, "x-amz-target");
    if target.starts_with("DynamoDB_") {
        // A service that is asked to says what a call costs. It is no longer what was signed, so the account's root asks instead, of whom
        // no signature is asked.
        let mut question: Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
        question["ReturnConsumedCapacity"] = json!("TOTAL");
        body = Bytes::from(question.to_string());
        for gone in ["content-length", "x-amz-security-token"] {
            parts.headers.remove(gone);
        }
        parts.headers.insert(
            header::AUTHORIZATION,
            as_root("dynamodb").parse().map_err(io::Error::other)?,
        );
    }
    let item = named(&target, &parts.method, &parts.headers, &parts.uri);
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .to_owned();
    parts.uri = format!("{to}{path}")
        .parse::<Uri>()
        .map_err(io::Error::other)?;
    let answer = client
        .request(Request::from_parts(parts, Body::from(body)))
        .await
        .map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let cost = match item {
        "DynamoDB read units" => read_units(&body),
        "DynamoDB write units" => units(&body),
        _ => 1.0,
    };
    *bill.lock().unwrap().entry(item).or_default() += cost;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// What a call is called on the bill.
fn named(target: &str, method: &Method, headers: &HeaderMap, uri: &Uri) -> &'static str {
    let service = text(headers, "authorization");
    match target.rsplit('.').next().unwrap_or_default() {
        "GetItem" | "Query" | "BatchGetItem" | "Scan" => "DynamoDB read units",
        _ if target.starts_with("DynamoDB_") => "DynamoDB write units",
        "Sign" => "KMS signatures",
        _ if target.starts_with("TrentService") => "KMS other requests",
        _ if target.starts_with("secretsmanager") => "Secrets Manager requests",
        _ if service.contains("/s3/")
            || uri
                .query()
                .is_some_and(|query| query.contains("X-Amz-Signature")) =>
        {
            match *method {
                Method::PUT | Method::POST => "S3 PUT, POST, COPY requests",
                Method::DELETE => "S3 DELETE requests, free",
                _ => "S3 GET, HEAD requests",
            }
        }
        _ if service.contains("/autoscaling/") => "Auto Scaling requests, free",
        _ => "other requests",
    }
}

/// Capacity units that an answer names, of however many tables and indexes.
fn units(body: &[u8]) -> f64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let of = |consumed: &Value| consumed["CapacityUnits"].as_f64().unwrap_or_default();
    match &answer["ConsumedCapacity"] {
        Value::Array(all) => all.iter().map(of).sum(),
        one => of(one),
    }
}

/// Bytes that one unit reads (Amazon DynamoDB Developer Guide, "DynamoDB on-demand capacity mode").
const READ_UNIT_BYTES: u64 = 4096;

/// Capacity units of a read. The services that stand in say one unit, or half of it, of each, however large what they read is; that is
/// the first 4 KB, and the others are as many times that.
fn read_units(body: &[u8]) -> f64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let read = answer["Items"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(answer.get("Item"));
    let bytes: u64 = read.map(item_bytes).sum();
    units(body) * bytes.div_ceil(READ_UNIT_BYTES).max(1) as f64
}

/// What an item has, in bytes (the same guide, "DynamoDB item sizes and formats").
fn item_bytes(item: &Value) -> u64 {
    item.as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| name.len() as u64 + value_bytes(value))
        .sum()
}

fn value_bytes(value: &Value) -> u64 {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    let length = value.as_str().map_or(0, str::len) as u64;
    match kind.as_str() {
        "S" => length,
        "N" => length.div_ceil(2) + 1,
        "B" => length / 4 * 3,
        "L" => {
            3 + value
                .as_array()
                .into_iter()
                .flatten()
                .map(|value| 1 + value_bytes(value))
                .sum::<u64>()
        }
        "M" => 3 + item_bytes(value),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_costs_by_its_size() {
        let read = |item: Value| {
            read_units(
                json!({ "Item": item, "ConsumedCapacity": { "CapacityUnits": 1.0 } })
                    .to_string()
                    .as_bytes(),
            )
        };
        assert!((read(json!({})) - 1.0).abs() < f64::EPSILON);
        let item =
            json!({ "body": { "S": "x".repeat(4096 - 4 - 11) }, "version": { "N": "123456" } });
        assert!((read(item) - 1.0).abs() < f64::EPSILON);
        let marks = json!([{ "L": [{ "S": "y".repeat(4096) }] }]);
        assert!((read(json!({ "marks": { "L": marks } })) - 2.0).abs() < f64::EPSILON);
        let body = json!({ "Items": [{ "b": { "B": "zzzz".repeat(2000) } }, {}], "ConsumedCapacity": { "CapacityUnits": 0.5 } });
        assert!((read_units(body.to_string().as_bytes()) - 1.0).abs() < f64::EPSILON);
    }
}
