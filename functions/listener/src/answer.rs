//! What a forge hears: one small JSON object with a status code, the same each time a delivery is repeated.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use millrace_core::push::Announced;
use millrace_core::{PackageName, PushId};
use serde::{Deserialize, Serialize};

/// What became of a delivery, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A push that is being fetched.
    Accepted,
    /// A repository that is a package of the line now.
    Registered,
    /// Nothing happens because of it, and nothing needs to.
    Ignored,
    /// Nothing happens because of it, and somebody should act: the message says who and what.
    Refused,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// In one word.
    pub status: Status,
    /// The push that it led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push: Option<PushId>,
    /// For the person who looks at the forge's list of deliveries.
    pub message: String,
}

/// An answer with its HTTP status code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// HTTP status code (RFC 9110).
    pub code: u16,
    /// The body.
    #[serde(flatten)]
    pub answer: Answer,
}

impl Answered {
    pub(crate) fn accepted(announced: &Announced) -> Self {
        let Announced {
            id,
            package,
            reference,
            commit,
            ..
        } = announced;
        let message = format!(
            "{package}: {} at {} is being fetched",
            short_reference(reference),
            commit.short()
        );
        Self {
            code: 202,
            answer: Answer {
                status: Status::Accepted,
                push: Some(id.clone()),
                message,
            },
        }
    }

    pub(crate) fn registered(package: &PackageName, clone_url: &str) -> Self {
        let message =
            format!("{package} is a package of the line; pushes to {clone_url} are built");
        Self {
            code: 201,
            answer: Answer {
                status: Status::Registered,
                push: None,
                message,
            },
        }
    }

    pub(crate) fn ignored(because: impl Into<String>) -> Self {
        Self {
            code: 200,
            answer: Answer {
                status: Status::Ignored,
                push: None,
                message: because.into(),
            },
        }
    }

    pub(crate) fn refused(code: StatusCode, message: String) -> Self {
        Self {
            code: code.as_u16(),
            answer: Answer {
                status: Status::Refused,
                push: None,
                message,
            },
        }
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, Json(self.answer)).into_response()
    }
}

/// `branch main`, `tag v1`.
fn short_reference(reference: &str) -> String {
    match (
        reference.strip_prefix("refs/heads/"),
        reference.strip_prefix("refs/tags/"),
    ) {
        (Some(branch), _) => format!("branch {branch}"),
        (_, Some(tag)) => format!("tag {tag}"),
        (None, None) => reference.to_owned(),
    }
}
