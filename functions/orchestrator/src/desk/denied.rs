//! Why the desk does not serve a request, and the status that says so.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use millrace_core::RunnerName;
use millrace_core::protocol::Problem;
use millrace_store::{AdvanceError, BlobError, SaveError, StateError, chain};

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
    pub(super) const fn status(&self) -> (StatusCode, &'static str) {
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
            StateError::Unfit(_) => Self::Bad(chain(&error)),
            StateError::Unavailable(_) | StateError::Corrupt { .. } => Self::Trouble(chain(&error)),
        }
    }
}

impl From<SaveError> for Denied {
    fn from(error: SaveError) -> Self {
        match error {
            // What was said is more than the line can keep, and will be the next time too: the runner must say something else.
            SaveError::TooLarge { .. } => Self::Bad(chain(&error)),
            SaveError::Conflict(_) => Self::Trouble(chain(&error)),
            SaveError::State(error) => error.into(),
        }
    }
}

impl From<BlobError> for Denied {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing(_) => Self::Missing(chain(&error)),
            BlobError::OutOfRange { .. } | BlobError::Digest(_) => Self::Bad(chain(&error)),
            BlobError::Damaged { .. } | BlobError::Io(_) => Self::Trouble(chain(&error)),
        }
    }
}

impl From<AdvanceError> for Denied {
    fn from(error: AdvanceError) -> Self {
        match error {
            AdvanceError::Refused(_) | AdvanceError::Unknown(_) => Self::Gone(chain(&error)),
            AdvanceError::Save(error) => error.into(),
        }
    }
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
            status(StateError::Unfit("it has 101 writes".into()).into()),
            400
        );
        assert_eq!(status(SaveError::Conflict(key())), 503);
        assert_eq!(status(StateError::unavailable("it is locked").into()), 503);
        assert_eq!(status(StateError::corrupt("build `b`").into()), 503);
        let words = Denied::from(SaveError::TooLarge {
            what: "b".to_owned(),
            bytes: 400_000,
        })
        .to_string();
        assert_eq!(words, "b is 400000 bytes, at most 389120 fit");
    }
}
