//! The lease desk: runners ask for work here, keep their leases alive, send logs and files, and answer.

mod files;
mod hold;
mod lease;
mod log;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use millrace_core::build::{Build, Event, LeaseRenewal};
use millrace_core::platform::Repository;
use millrace_core::protocol::{Problem, Renewal, Renewed, Report};
use millrace_core::runner::{Runner, Token};
use millrace_core::task::{LEASE_MS, LeaseId, Task};
use millrace_core::{PlatformName, RunnerName, Timestamp};
use millrace_store::builds::load_build;
use millrace_store::leases::hear;
use millrace_store::runners::runner_of_token;
use millrace_store::{
    AdvanceError, BlobError, BlobStore, SaveError, StateError, StateStore, tell_build,
};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Notify;

/// Largest JSON body, in bytes: a report with the most artifacts there may be has about 200 KB.
const JSON_BYTES_MAX: usize = 1 << 20;

/// How often a runner says that it is still at it where a process runs anyway, in seconds: so soon a task that was cancelled ends.
const RENEW_S: u32 = 2;

/// What the desk works with.
#[derive(Clone)]
pub struct Desk<S, B> {
    /// Builds and runners.
    pub state: S,
    /// Files and logs.
    pub blobs: B,
    /// The line's clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Rung when a task may be taken, so that waiting runners look again.
    pub ready: Arc<Notify>,
    /// Where a platform's released packages are found by runners, to be added to its repositories.
    pub released: Arc<dyn Fn(&PlatformName) -> Repository + Send + Sync>,
    /// A folder for files that are on their way in.
    pub incoming: PathBuf,
    /// How often runners come, where each time is paid for. None keeps those on the line that wait: that costs nothing where a process
    /// runs anyway.
    pub paces: Option<Paces>,
}

/// How often runners come.
#[derive(Debug, Clone, Copy)]
pub struct Paces {
    /// How long one that finds nothing waits before it asks again, in seconds.
    pub ask_again_s: u32,
    /// How long one that has sent a piece of a log waits before it sends the next, in seconds, unless that is long by then.
    pub log_pause_s: u32,
    /// How often one that works on a task says so, in seconds.
    pub renew_s: u32,
}

/// The routes of `protocol`.
pub fn router<S: StateStore, B: BlobStore>(desk: Desk<S, B>) -> Router {
    let json = Router::new()
        .route("/runner/v1/lease", post(lease::lease::<S, B>))
        .route("/runner/v1/renew", post(renew::<S, B>))
        .route("/runner/v1/report", post(report::<S, B>))
        .route("/runner/v1/upload", post(files::place::<S, B>))
        .route("/runner/v1/holds", post(hold::attend::<S, B>))
        .route("/runner/v1/typed", post(hold::listen::<S, B>))
        .route("/runner/v1/printed", post(hold::print::<S, B>))
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX));
    let bytes = Router::new()
        .route("/runner/v1/log", post(log::append::<S, B>))
        .layer(DefaultBodyLimit::max(log::CHUNK_BYTES_MAX))
        .route(
            "/runner/v1/blobs/{digest}",
            get(files::download::<S, B>)
                .put(files::upload::<S, B>)
                .layer(DefaultBodyLimit::disable()),
        );
    json.merge(bytes).with_state(desk)
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("the token is not known: `millrace runner add` makes one")]
    Unknown,
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    Gone(String),
    #[error("runner {0} is draining; `millrace runner resume {0}` cancels that")]
    Draining(RunnerName),
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Trouble(String),
}

impl Denied {
    const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unknown => (StatusCode::UNAUTHORIZED, "unknown-token"),
            Self::Bad(_) => (StatusCode::BAD_REQUEST, "bad-request"),
            Self::Gone(_) => (StatusCode::CONFLICT, "stale-lease"),
            Self::Draining(_) => (StatusCode::GONE, "leave"),
            Self::Missing(_) => (StatusCode::NOT_FOUND, "not-found"),
            Self::Trouble(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, problem) = self.status();
        (
            status,
            Json(Problem {
                problem: problem.to_owned(),
                message: self.to_string(),
            }),
        )
            .into_response()
    }
}

impl From<StateError> for Denied {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unfit(_) => Self::Bad(error.to_string()),
            StateError::Unavailable(_) | StateError::Corrupt(_) => Self::Trouble(error.to_string()),
        }
    }
}

impl From<SaveError> for Denied {
    fn from(error: SaveError) -> Self {
        match error {
            // What was said is more than the line can keep, and will be the next time too: the runner must say something else.
            SaveError::TooLarge { .. } => Self::Bad(error.to_string()),
            SaveError::Conflict(_) => Self::Trouble(error.to_string()),
            SaveError::State(error) => error.into(),
        }
    }
}

impl From<BlobError> for Denied {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing(_) => Self::Missing(error.to_string()),
            BlobError::OutOfRange { .. } | BlobError::Digest(_) => Self::Bad(error.to_string()),
            BlobError::Damaged { .. } | BlobError::Io(_) => Self::Trouble(error.to_string()),
        }
    }
}

impl From<AdvanceError> for Denied {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::Refused(_) | AdvanceError::Unknown(_) => Self::Gone(error.to_string()),
            AdvanceError::Save(error) => error.into(),
        }
    }
}

/// The runner that speaks.
pub(crate) async fn speaker<S: StateStore, B>(
    desk: &Desk<S, B>,
    headers: &HeaderMap,
) -> Result<Runner, Denied> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(Denied::Unknown)?;
    runner_of_token(&desk.state, &Token::presented(token))
        .await?
        .ok_or(Denied::Unknown)
}

/// Makes sure that the runner holds this lease now, and answers the build that it is of.
pub(crate) async fn build_of_lease<S: StateStore, B>(
    desk: &Desk<S, B>,
    runner: &Runner,
    lease_id: &LeaseId,
) -> Result<Build, Denied> {
    let build = load_build(&desk.state, &lease_id.build)
        .await?
        .map(|(build, _)| build);
    let is_held = |build: &Build| {
        build
            .task(&lease_id.task)
            .is_some_and(|task| has(task, runner, lease_id))
    };
    build.filter(is_held).ok_or_else(|| over(lease_id))
}

/// Whether the runner has this lease of a task now.
fn has(task: &Task, runner: &Runner, lease_id: &LeaseId) -> bool {
    task.lease()
        .is_some_and(|lease| lease.number == lease_id.number && runner.is(&lease.runner))
}

/// Whether it once had it.
fn had(task: &Task, runner: &Runner, lease_id: &LeaseId) -> bool {
    task.attempts
        .iter()
        .any(|attempt| attempt.number == lease_id.number && runner.is(&attempt.runner))
}

fn over(lease_id: &LeaseId) -> Denied {
    Denied::Gone(format!(
        "lease {} of task {} of build {} is over",
        lease_id.number, lease_id.task, lease_id.build
    ))
}

async fn renew<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(Renewal { lease_id, silent_s }): Json<Renewal>,
) -> Result<Json<Renewed>, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let build = build_of_lease(&desk, &runner, &lease_id).await?;
    let now = (desk.clock)();
    let heard = LeaseRenewal {
        task: lease_id.task.clone(),
        lease: lease_id.number,
        at: now,
    };
    let at = hear(&desk.state, &lease_id.build, &heard).await?;
    let lease = build.task(&lease_id.task).and_then(Task::lease);
    if lease.is_some_and(|lease| lease.silent_since.is_some() != silent_s.is_some()) {
        silence(&desk, lease_id, silent_s, now).await?;
    }
    let hand_back = lease
        .and_then(|lease| runner.draining(&lease.runner))
        .is_some_and(|draining| draining.hand_back);
    Ok(Json(Renewed {
        until: at.plus_ms(LEASE_MS),
        now,
        hand_back,
    }))
}

/// Tells a build that one of its tasks has fallen silent, or speaks again.
async fn silence<S: StateStore, B>(
    desk: &Desk<S, B>,
    lease_id: LeaseId,
    silent_s: Option<u32>,
    now: Timestamp,
) -> Result<(), Denied> {
    let since = silent_s.map(|seconds| Timestamp(now.0.saturating_sub(u64::from(seconds) * 1000)));
    let event = Event::Silent {
        task: lease_id.task,
        lease: lease_id.number,
        since,
    };
    Ok(tell_build(&desk.state, &lease_id.build, event, now).await?)
}

async fn report<S: StateStore, B: BlobStore>(
    State(desk): State<Desk<S, B>>,
    headers: HeaderMap,
    Json(report): Json<Report>,
) -> Result<StatusCode, Denied> {
    let runner = speaker(&desk, &headers).await?;
    let Report {
        lease_id,
        outcome,
        roots,
    } = report;
    let build = load_build(&desk.state, &lease_id.build).await?;
    let task = build
        .as_ref()
        .and_then(|(build, _)| build.task(&lease_id.task))
        .ok_or_else(|| over(&lease_id))?;
    if has(task, &runner, &lease_id) {
        files::are_here(&desk, &outcome, roots).await?;
    } else if !had(task, &runner, &lease_id) {
        return Err(over(&lease_id));
    }
    let event = Event::Report {
        task: lease_id.task.clone(),
        lease: lease_id.number,
        outcome,
        roots,
    };
    // Where the answer to an earlier report was lost on the way, it is made again.
    tell_build(&desk.state, &lease_id.build, event, (desk.clock)()).await?;
    log::end(&desk, &lease_id).await?;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_store::{Key, Table};

    #[test]
    fn what_no_record_can_hold_is_refused_and_what_passes_is_tried_again() {
        let key = || Key::new(Table::Build, "b");
        let status = |error: SaveError| Denied::from(AdvanceError::from(error)).status().0.as_u16();
        assert_eq!(
            status(SaveError::TooLarge {
                what: "b".to_owned(),
                bytes: 400_000
            }),
            400
        );
        assert_eq!(
            status(StateError::Unfit("it has 101 writes".to_owned()).into()),
            400
        );
        assert_eq!(status(SaveError::Conflict(key())), 503);
        assert_eq!(
            status(StateError::Unavailable("it is locked".to_owned()).into()),
            503
        );
        assert_eq!(
            status(StateError::Corrupt("build `b`".to_owned()).into()),
            503
        );
        let words = Denied::from(SaveError::TooLarge {
            what: "b".to_owned(),
            bytes: 400_000,
        })
        .to_string();
        assert_eq!(words, "b is 400000 bytes, at most 389120 fit");
    }
}
