//! What a forge is answered: one small JSON object with a status code, the same each time a delivery is repeated.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use millrace_core::push::Announced;
use millrace_core::{PackageName, PushId};
use serde::Serialize;

/// What became of a delivery, in one word.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum DeliveryStatus {
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
#[derive(Debug, Clone, Serialize)]
struct HookReplyBody {
    status: DeliveryStatus,
    /// The push that it led to.
    #[serde(skip_serializing_if = "Option::is_none")]
    push: Option<PushId>,
    /// For the person who looks at the forge's list of deliveries.
    message: String,
}

/// An answer to a forge.
#[derive(Debug, Clone)]
pub(crate) struct HookReply {
    code: StatusCode,
    body: HookReplyBody,
}

impl HookReply {
    pub(crate) fn accepted(announced: &Announced) -> Self {
        let message = format!(
            "{}: {} at {} is being fetched",
            announced.package,
            short_reference(&announced.reference),
            announced.commit.short()
        );
        Self {
            code: StatusCode::ACCEPTED,
            body: HookReplyBody {
                status: DeliveryStatus::Accepted,
                push: Some(announced.id.clone()),
                message,
            },
        }
    }

    pub(crate) fn registered(package: &PackageName, clone_url: &str) -> Self {
        let message =
            format!("{package} is a package of the line; pushes to {clone_url} are built");
        Self::without_push(StatusCode::CREATED, DeliveryStatus::Registered, message)
    }

    pub(crate) fn ignored(because: impl Into<String>) -> Self {
        Self::without_push(StatusCode::OK, DeliveryStatus::Ignored, because.into())
    }

    pub(crate) fn refused(code: StatusCode, message: String) -> Self {
        Self::without_push(code, DeliveryStatus::Refused, message)
    }

    /// What the person who looks at the forge's list of deliveries reads.
    pub(crate) fn message(&self) -> &str {
        &self.body.message
    }

    fn without_push(code: StatusCode, status: DeliveryStatus, message: String) -> Self {
        Self {
            code,
            body: HookReplyBody {
                status,
                push: None,
                message,
            },
        }
    }
}

impl IntoResponse for HookReply {
    fn into_response(self) -> Response {
        (self.code, Json(self.body)).into_response()
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
