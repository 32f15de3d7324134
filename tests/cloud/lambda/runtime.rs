//! The Runtime API that one process asks for work (AWS Lambda Developer Guide, "Using the Lambda runtime API").

use crate::lambda::RESPONSE_BYTES_MAX;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What a process is to do.
#[derive(Debug)]
pub struct Job {
    pub id: String,
    /// Full name of the function.
    pub arn: String,
    /// When it must be done, in milliseconds since 1970.
    pub deadline_ms: u64,
    pub payload: Bytes,
}

/// What a process says.
#[derive(Debug)]
pub enum RuntimeMessage {
    /// It is ready for an invocation.
    Next,
    /// The answer to its invocation.
    Answer(Bytes),
    /// Its invocation failed, in its own words.
    Error(Value),
    /// It cannot start, in its own words.
    NoStart(Value),
}

/// The API as its process sees it, and how to speak to the process through it. It ends when this is dropped.
#[derive(Debug)]
pub struct Runtime {
    pub address: SocketAddr,
    /// Gives the process something to do.
    pub jobs: mpsc::UnboundedSender<Job>,
    /// Hears what it says.
    pub said: mpsc::UnboundedReceiver<RuntimeMessage>,
    serving: JoinHandle<()>,
}

struct Desk {
    jobs: tokio::sync::Mutex<mpsc::UnboundedReceiver<Job>>,
    said: mpsc::UnboundedSender<RuntimeMessage>,
    /// The invocation that is not answered yet.
    current: Mutex<Option<String>>,
}

impl Runtime {
    /// One for a new process.
    pub async fn open() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, (jobs, taken), (told, said)) = (
            listener.local_addr()?,
            mpsc::unbounded_channel(),
            mpsc::unbounded_channel(),
        );
        let desk = Arc::new(Desk {
            jobs: taken.into(),
            said: told,
            current: Mutex::default(),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(no_start))
            .layer(DefaultBodyLimit::disable())
            .with_state(desk);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            jobs,
            said,
            serving,
        })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Desk {
    /// Whether this is the invocation that the process has; it has it no longer.
    fn finish(&self, id: &str) -> bool {
        self.current
            .lock()
            .unwrap()
            .take_if(|current| current == id)
            .is_some()
    }

    fn hear(&self, said: RuntimeMessage) -> Response<Body> {
        // A process that is not listened to any more is about to be ended.
        let _ = self.said.send(said);
        reply(StatusCode::ACCEPTED, json!({ "status": "OK" }))
    }
}

async fn next(State(desk): State<Arc<Desk>>) -> Response<Body> {
    let _ = desk.said.send(RuntimeMessage::Next);
    let Some(job) = desk.jobs.lock().await.recv().await else {
        return reply(StatusCode::GONE, json!({ "errorType": "Gone" }));
    };
    *desk.current.lock().unwrap() = Some(job.id.clone());
    Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", &job.id)
        .header("lambda-runtime-deadline-ms", job.deadline_ms)
        .header("lambda-runtime-invoked-function-arn", &job.arn)
        .header(
            "lambda-runtime-trace-id",
            format!(
                "Root=1-{:08x}-{:024x};Sampled=0",
                job.deadline_ms / 1000,
                fastrand::u64(..)
            ),
        )
        .body(Body::from(job.payload))
        .unwrap()
}

async fn response(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response<Body> {
    if !desk.finish(&id) {
        return unknown(&id);
    }
    if body.len() <= RESPONSE_BYTES_MAX {
        return desk.hear(RuntimeMessage::Answer(body));
    }
    let message = format!(
        "Response payload size exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes)."
    );
    let error = json!({ "errorType": "Function.ResponseSizeTooLarge", "errorMessage": message });
    desk.hear(RuntimeMessage::Error(error.clone()));
    reply(StatusCode::PAYLOAD_TOO_LARGE, error)
}

async fn error(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response<Body> {
    if desk.finish(&id) {
        desk.hear(RuntimeMessage::Error(words(&body)))
    } else {
        unknown(&id)
    }
}

async fn no_start(State(desk): State<Arc<Desk>>, body: Bytes) -> Response<Body> {
    desk.hear(RuntimeMessage::NoStart(words(&body)))
}

/// An error in the function's own words, whatever they are.
fn words(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| json!({ "errorMessage": String::from_utf8_lossy(body) }))
}

fn unknown(id: &str) -> Response<Body> {
    let message = format!("no invocation {id} is under way");
    reply(
        StatusCode::BAD_REQUEST,
        json!({ "errorType": "InvalidRequestID", "errorMessage": message }),
    )
}

fn reply(status: StatusCode, body: Value) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}
