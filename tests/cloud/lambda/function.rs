//! A function: as many processes as run invocations at once, used again and again.

use crate::lambda::activity::Activity;
use crate::lambda::children::Children;
use crate::lambda::clock::now_ms;
use crate::lambda::deployed::Settings;
use crate::lambda::process::{Process, Program};
use crate::lambda::runtime::Job;
use axum::body::Bytes;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// As many run as may; it was not begun.
    Throttled,
    /// The function's own words or Lambda's: an object with `errorType` and `errorMessage`.
    Error(Value),
}

impl Failure {
    /// `Sandbox.Timedout`
    pub fn kind(&self) -> &str {
        match self {
            Self::Throttled => "Throttled",
            Self::Error(words) => words["errorType"].as_str().unwrap_or_default(),
        }
    }
}

/// A function.
#[derive(Debug)]
pub struct Function {
    /// As it was deployed.
    pub settings: Settings,
    /// What its processes are started with.
    pub program: Program,
    place: PathBuf,
    children: Children,
    activity: Activity,
    idle: Mutex<Vec<Process>>,
    running: AtomicUsize,
    started: AtomicUsize,
    invoked: AtomicUsize,
    busy_ms: AtomicUsize,
    stopped: AtomicBool,
}

/// One of those that may run at once, as long as this lives.
struct Slot(Arc<Function>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Function {
    /// A function none of whose processes runs yet. Their folders are made in a place.
    pub fn new(
        settings: Settings,
        program: Program,
        place: PathBuf,
        children: Children,
        activity: Activity,
    ) -> Self {
        let (idle, running, started, invoked, busy_ms, stopped) = Default::default();
        Self {
            settings,
            program,
            place,
            children,
            activity,
            idle,
            running,
            started,
            invoked,
            busy_ms,
            stopped,
        }
    }

    /// How many processes it has started.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// How often it was invoked, and for how long together, in milliseconds as AWS counts them: each begun one is one.
    pub fn billed(&self) -> (usize, usize) {
        (
            self.invoked.load(Ordering::SeqCst),
            self.busy_ms.load(Ordering::SeqCst),
        )
    }

    /// Invokes it. A caller that waits for the answer may go away: the invocation goes on.
    pub async fn invoke(self: &Arc<Self>, id: &str, payload: Bytes) -> Result<Bytes, Failure> {
        let (function, id) = (Arc::clone(self), id.to_owned());
        let run = tokio::spawn(async move { function.run(id, payload).await });
        run.await.unwrap_or(Err(Failure::Error(Value::Null)))
    }

    async fn run(self: Arc<Self>, id: String, payload: Bytes) -> Result<Bytes, Failure> {
        let busy = self.activity.begin();
        let slot = self.slot()?;
        let mut process = match self.idle() {
            Some(process) => process,
            None => self.start().await.map_err(Failure::Error)?,
        };
        let timeout = self.settings.timeout;
        let deadline_ms = now_ms() + u64::try_from(timeout.as_millis()).unwrap_or_default();
        let deadline = Instant::now() + timeout;
        let job = Job {
            id,
            arn: self.settings.arn.clone(),
            deadline_ms,
            payload,
        };
        let began = Instant::now();
        let answer = process.run(job, timeout).await;
        self.invoked.fetch_add(1, Ordering::SeqCst);
        self.busy_ms.fetch_add(
            usize::try_from(began.elapsed().as_millis()).unwrap_or_default() + 1,
            Ordering::SeqCst,
        );
        tokio::spawn(async move {
            if process.freeze(deadline).await {
                slot.0.idle.lock().unwrap().push(process);
            }
            drop((slot, busy));
        });
        answer.map_err(Failure::Error)
    }

    fn slot(self: &Arc<Self>) -> Result<Slot, Failure> {
        let before = self.running.fetch_add(1, Ordering::SeqCst);
        let slot = Slot(Arc::clone(self));
        let is_full = self
            .settings
            .concurrency_max
            .is_some_and(|max| before >= max);
        if is_full || self.stopped.load(Ordering::SeqCst) {
            Err(Failure::Throttled)
        } else {
            Ok(slot)
        }
    }

    /// A process that has nothing to do.
    fn idle(&self) -> Option<Process> {
        let mut idle = self.idle.lock().unwrap();
        while let Some(mut process) = idle.pop() {
            if process.is_alive() {
                return Some(process);
            }
        }
        None
    }

    async fn start(&self) -> Result<Process, Value> {
        self.started.fetch_add(1, Ordering::SeqCst);
        Process::start(&self.program, &self.children, &self.place).await
    }

    /// Ends the processes that have nothing to do, and begins nothing any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.idle.lock().unwrap().clear();
    }
}
