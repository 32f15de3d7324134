//! What may go wrong between a program and a service: a proxy that throttles, fails, breaks off and loses answers.

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It gets through, and so does its answer.
    Pass,
    /// The service says that this is too much for it; it was not asked.
    Throttle,
    /// The service says that it is broken; it was not asked.
    Break,
    /// The connection ends before the service hears of it.
    Reset,
    /// The service does it, and the connection ends before its answer is here.
    Lose,
    /// The service says that another write of the same object is under way; it was not asked.
    Cross,
}

/// A request, as far as its fate may depend on it.
#[derive(Debug)]
pub struct ProxiedRequest<'a> {
    /// How many came before it.
    pub number: usize,
    /// `PUT`.
    pub method: &'a Method,
    /// Whether it changes something.
    pub changes: bool,
    /// How often in a row this very request met with trouble, the same bytes for the same place.
    pub again: usize,
}

type Decide = Box<dyn FnMut(&ProxiedRequest<'_>) -> Fate + Send>;

/// A proxy that runs as long as this lives.
pub struct Proxy {
    pub endpoint: String,
    /// What became of each request, in order.
    pub fates: Arc<Mutex<Vec<Fate>>>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Upstream {
    to: String,
    client: Client<HttpConnector, Body>,
    decide: Mutex<Decide>,
    fates: Arc<Mutex<Vec<Fate>>>,
    /// How often in a row requests met with trouble.
    again: Mutex<HashMap<u64, usize>>,
}

impl Proxy {
    /// One that stands before a service.
    pub async fn before(
        service: &str,
        decide: impl FnMut(&ProxiedRequest<'_>) -> Fate + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let fates = Arc::<Mutex<Vec<Fate>>>::default();
        let way = Arc::new(Upstream {
            to: service.trim_end_matches('/').to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            decide: Mutex::new(Box::new(decide)),
            fates: Arc::clone(&fates),
            again: Mutex::default(),
        });
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = Arc::clone(&way);
                let service = service_fn(move |request| through(Arc::clone(&way), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            endpoint,
            fates,
            serving,
        }
    }

    /// How many requests met a fate.
    pub fn met(&self, fate: Fate) -> usize {
        self.fates
            .lock()
            .unwrap()
            .iter()
            .filter(|met| **met == fate)
            .count()
    }
}

async fn through(way: Arc<Upstream>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().as_str().to_owned();
    let body: Bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let fate = {
        let (mut fates, mut again) = (way.fates.lock().unwrap(), way.again.lock().unwrap());
        let mut hasher = DefaultHasher::new();
        (&parts.method, &path, &body).hash(&mut hasher);
        let again = again.entry(hasher.finish()).or_default();
        let changes = changes(&parts);
        let asked = ProxiedRequest {
            number: fates.len(),
            method: &parts.method,
            changes,
            again: *again,
        };
        let fate = (way.decide.lock().unwrap())(&asked);
        *again = if fate == Fate::Pass { 0 } else { *again + 1 };
        fates.push(fate);
        fate
    };
    let is_dynamodb = parts.headers.contains_key("x-amz-target");
    match fate {
        Fate::Pass | Fate::Lose => {}
        Fate::Throttle if is_dynamodb => {
            return Ok(said(StatusCode::BAD_REQUEST, json("ThrottlingException")));
        }
        Fate::Throttle => return Ok(said(StatusCode::SERVICE_UNAVAILABLE, xml("SlowDown"))),
        Fate::Break if is_dynamodb => {
            return Ok(said(
                StatusCode::INTERNAL_SERVER_ERROR,
                json("InternalServerError"),
            ));
        }
        Fate::Break => {
            return Ok(said(
                StatusCode::INTERNAL_SERVER_ERROR,
                xml("InternalError"),
            ));
        }
        Fate::Cross => {
            return Ok(said(
                StatusCode::CONFLICT,
                xml("ConditionalRequestConflict"),
            ));
        }
        Fate::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
    }
    parts.uri = format!("{}{path}", way.to).parse::<Uri>().unwrap();
    let asked = way
        .client
        .request(Request::from_parts(parts, Body::from(body)));
    // What is on its way arrives, also if the caller is gone by now.
    let answer = tokio::spawn(asked)
        .await
        .map_err(io::Error::other)?
        .map_err(io::Error::other)?;
    if fate == Fate::Lose {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(answer.map(Body::new))
}

/// Whether a request changes something: by the name of what it asks for if it has one, as DynamoDB's have, or else by its method.
fn changes(parts: &axum::http::request::Parts) -> bool {
    match parts
        .headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok()?.rsplit('.').next())
    {
        Some(verb) => [
            "PutItem",
            "UpdateItem",
            "DeleteItem",
            "TransactWriteItems",
            "BatchWriteItem",
        ]
        .contains(&verb),
        None => [Method::PUT, Method::POST, Method::DELETE].contains(&parts.method),
    }
}

fn said(status: StatusCode, body: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(Body::from(body))
        .unwrap()
}

/// An error in DynamoDB's words (Amazon DynamoDB Developer Guide, "Error handling").
fn json(code: &str) -> String {
    format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"made up"}}"#)
}

/// An error in S3's words (Amazon S3 API Reference, "Error responses").
fn xml(code: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>made up</Message></Error>"#
    )
}
