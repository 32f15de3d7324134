//! What a visitor gets instead of what was asked for, in words: as a page, or as JSON where a program asks.

use crate::layout::{Page, page};
use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use maud::html;
use millrace_store::roots::RootsError;
use millrace_store::{BlobError, StateError};

/// What is wrong.
#[derive(Debug)]
pub(crate) enum Problem {
    /// There is no such thing.
    Missing(String),
    /// What was asked for makes no sense.
    Bad(String),
    /// Too many want it at once.
    Busy(String),
    /// A store's trouble: nothing that a visitor could mend, and nothing of it for a visitor's eyes.
    Trouble,
}

impl From<StateError> for Problem {
    fn from(error: StateError) -> Self {
        eprintln!("millrace-web: {error}");
        Self::Trouble
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
            | BlobError::Io(_)) => {
                eprintln!("millrace-web: {error}");
                Self::Trouble
            }
        }
    }
}

impl From<RootsError> for Problem {
    fn from(error: RootsError) -> Self {
        match error {
            RootsError::Blob(error) => error.into(),
            error @ RootsError::Senseless(..) => {
                eprintln!("millrace-web: {error}");
                Self::Trouble
            }
        }
    }
}

impl Problem {
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
                "What keeps the line's records did not answer as it should. Builds go on by themselves; try again in a minute. \
                 Whoever runs the line finds the cause in its log."
                    .to_owned()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, title) = (self.status(), self.title());
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

/// A problem told to a program.
pub(crate) struct AsJson(Problem);

impl From<Problem> for AsJson {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for AsJson {
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
        AsJson(problem).into_response()
    } else {
        problem.into_response()
    }
}
