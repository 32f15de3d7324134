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
    /// Its address.
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
        let (bill, to) = (Arc::<Mutex<Bill>>::default(), services.trim_end_matches('/').to_owned());
        let (counts, client) = (Arc::clone(&bill), Client::builder(TokioExecutor::new()).build_http());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (counts, client, to) = (Arc::clone(&counts), client.clone(), to.clone());
                let service = service_fn(move |request| through(Arc::clone(&counts), client.clone(), to.clone(), request));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { endpoint, bill, serving }
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
        // Whoever is asked to says what a call costs. It is no longer what was signed, so the account's root asks instead, of whom no
        // signature is asked.
        let mut question: Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
        question["ReturnConsumedCapacity"] = json!("TOTAL");
        body = Bytes::from(question.to_string());
        for gone in ["content-length", "x-amz-security-token"] {
            parts.headers.remove(gone);
        }
        parts.headers.insert(header::AUTHORIZATION, as_root("dynamodb").parse().map_err(io::Error::other)?);
    }
    let item = named(&target, &parts.method, &parts.headers, &parts.uri);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    parts.uri = format!("{to}{path}").parse::<Uri>().map_err(io::Error::other)?;
    let answer = client.request(Request::from_parts(parts, Body::from(body))).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let cost = if target.starts_with("DynamoDB_") { units(&body) } else { 1.0 };
    *bill.lock().unwrap().entry(item).or_default() += cost;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
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
        _ if service.contains("/s3/") || uri.query().is_some_and(|query| query.contains("X-Amz-Signature")) => match *method {
            Method::PUT | Method::POST => "S3 PUT, POST, COPY requests",
            Method::DELETE => "S3 DELETE requests, free",
            _ => "S3 GET, HEAD requests",
        },
        _ if service.contains("/autoscaling/") => "Auto Scaling requests, free",
        _ => "other requests",
    }
}

/// Capacity units of an answer, however many tables and indexes it names.
fn units(body: &[u8]) -> f64 {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let of = |consumed: &Value| consumed["CapacityUnits"].as_f64().unwrap_or_default();
    match &answer["ConsumedCapacity"] {
        Value::Array(all) => all.iter().map(of).sum(),
        one => of(one),
    }
}
