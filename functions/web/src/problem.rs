//! What a visitor gets instead of what was asked for: a page that says why, or JSON if a program asks.

use crate::layout::{Page, page};
use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use maud::html;
use millrace_store::roots::RootsError;
use millrace_store::{BlobError, chain};
use millrace_view::ViewError;
use tracing::error;

/// What is wrong.
#[derive(Debug)]
pub(crate) enum Problem {
    /// There is no such thing.
    Missing(String),
    /// What was asked for makes no sense.
    Bad(String),
    /// Too many readers at once.
    Busy(String),
    /// A store failed: nothing that a visitor could fix or should see.
    Trouble,
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::NoRecord { .. }
            | ViewError::NoTask { .. }
            | ViewError::NotTaken(_)
            | ViewError::NoAttempt { .. }
            | ViewError::NoRoots(_) => Self::Missing(error.to_string()),
            ViewError::Position => Self::Bad(error.to_string()),
            ViewError::State(error) => Self::trouble(&error),
            ViewError::Roots(error) => error.into(),
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing(digest) => {
                Self::Missing(format!("The line does not keep {digest} any more."))
            }
            error @ (BlobError::OutOfRange { .. }
            | BlobError::Damaged { .. }
            | BlobError::Digest(_)
            | BlobError::Io(_)) => Self::trouble(&error),
        }
    }
}

impl From<RootsError> for Problem {
    fn from(error: RootsError) -> Self {
        match error {
            RootsError::Blob(error) => error.into(),
            error @ RootsError::Senseless(..) => Self::trouble(&error),
        }
    }
}

impl Problem {
    /// Logs for the line's operator what a visitor need not know.
    fn trouble(error: &(dyn std::error::Error + 'static)) -> Self {
        error!(problem = chain(error), "a page cannot be shown");
        Self::Trouble
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Trouble => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Missing(_) => "Not found",
            Self::Bad(_) => "Not understood",
            Self::Busy(_) => "Too many at once",
            Self::Trouble => "Something is wrong here",
        }
    }

    fn words(self) -> String {
        match self {
            Self::Missing(words) | Self::Bad(words) | Self::Busy(words) => words,
            Self::Trouble => {
                "The line's store failed to answer. Builds go on by themselves; try again in a minute. \
                 The cause is in the line's log."
                    .to_owned()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let title = self.title();
        let body = html! { h1 { (title) } p { (self.words()) } p { a href="/" { "All builds" } } };
        (
            status,
            page(
                Page {
                    title,
                    here: "",
                    refresh: false,
                },
                &body,
            ),
        )
            .into_response()
    }
}

/// A problem as JSON, for programs.
pub(crate) struct JsonProblem(Problem);

impl From<Problem> for JsonProblem {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<ViewError> for JsonProblem {
    fn from(error: ViewError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for JsonProblem {
    fn into_response(self) -> Response {
        (
            self.0.status(),
            Json(serde_json::json!({"error": self.0.words()})),
        )
            .into_response()
    }
}

pub(crate) async fn no_such_page(uri: Uri) -> Response {
    let problem = Problem::Missing("There is no page at this address.".to_owned());
    if uri.path().starts_with("/api/") {
        JsonProblem(problem).into_response()
    } else {
        problem.into_response()
    }
}
