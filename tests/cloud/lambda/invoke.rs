//! What functions call each other by: `Invoke` of the Lambda API Reference.

use crate::lambda::account::signer;
use crate::lambda::faults::Call;
use crate::lambda::function::{Failure, Function};
use crate::lambda::invoker::{Invoker, new_id};
use crate::lambda::{EVENT_BYTES_MAX, REQUEST_BYTES_MAX};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The API.
pub fn router(invoker: Arc<Invoker>) -> Router {
    Router::new()
        .route("/2015-03-31/functions/{function}/invocations", post(invoke))
        .layer(DefaultBodyLimit::disable())
        .with_state(invoker)
}

async fn invoke(
    State(invoker): State<Arc<Invoker>>,
    Path(named): Path<String>,
    headers: HeaderMap,
    payload: Bytes,
) -> Response<Body> {
    let Some(function) = invoker.find(&named) else {
        let message = format!("Function not found: {named}");
        return refused(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            json!({ "Type": "User", "Message": message }),
        );
    };
    let caller = signer(&headers);
    if !invoker.may_invoke(caller, function).await {
        return forbidden(invoker.roles.get(caller.unwrap_or_default()), function);
    }
    let kind = headers
        .get("x-amz-invocation-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("RequestResponse");
    let bytes_max = if kind == "Event" {
        EVENT_BYTES_MAX
    } else {
        REQUEST_BYTES_MAX
    };
    if payload.len() > bytes_max {
        let message = format!(
            "{} byte payload is too large for the {kind} invocation type (limit {bytes_max} bytes)",
            payload.len()
        );
        let body = json!({ "Type": "User", "Message": message });
        return refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLargeException",
            body,
        );
    }
    let payload = if payload.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        payload
    };
    if let Err(error) = serde_json::from_slice::<Value>(&payload) {
        let body = json!({ "Type": "User", "Message": format!("Could not parse request body into json: {error}") });
        return refused(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            body,
        );
    }
    let fate = invoker
        .faults
        .call(invoker.calls.fetch_add(1, Ordering::Relaxed));
    match fate {
        Call::Pass | Call::Lose => {}
        Call::Throttle => {
            return refused(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequestsException",
                throttled(),
            );
        }
        Call::Break => {
            let body = json!({ "Type": "Service", "Message": "made up" });
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", body);
        }
    }
    let answer = match kind {
        "Event" => reply(StatusCode::ACCEPTED, &invoker.later(function, payload))
            .body(Body::empty())
            .unwrap(),
        "DryRun" => reply(StatusCode::NO_CONTENT, &new_id())
            .body(Body::empty())
            .unwrap(),
        _ => wait(function, payload).await,
    };
    if fate == Call::Lose {
        let (head, _) = answer.into_parts();
        let broken = futures_util::stream::once(async {
            Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        });
        return Response::from_parts(head, Body::from_stream(broken));
    }
    answer
}

/// Invokes a function and waits for its answer.
async fn wait(function: &Arc<Function>, payload: Bytes) -> Response<Body> {
    let id = new_id();
    let answered = reply(StatusCode::OK, &id).header("x-amz-executed-version", "$LATEST");
    match function.invoke(&id, payload).await {
        Ok(answer) => answered.body(Body::from(answer)).unwrap(),
        Err(Failure::Error(words)) => answered
            .header("x-amz-function-error", "Unhandled")
            .body(Body::from(words.to_string()))
            .unwrap(),
        Err(Failure::Throttled) => refused(
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequestsException",
            throttled(),
        ),
    }
}

/// What somebody hears who must wait for room.
pub fn throttled() -> Value {
    json!({ "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded." })
}

fn forbidden(role: Option<&String>, function: &Function) -> Response<Body> {
    let arn = &function.settings.arn;
    let Some(role) = role else {
        let message = "The security token included in the request is invalid.";
        return refused(
            StatusCode::FORBIDDEN,
            "UnrecognizedClientException",
            json!({ "message": message }),
        );
    };
    let message = format!(
        "User: {role} is not authorized to perform: lambda:InvokeFunction on resource: {arn} because no identity-based policy \
         allows the lambda:InvokeFunction action"
    );
    refused(
        StatusCode::FORBIDDEN,
        "AccessDeniedException",
        json!({ "Message": message }),
    )
}

fn reply(status: StatusCode, id: &str) -> axum::http::response::Builder {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-amzn-requestid", id)
}

fn refused(status: StatusCode, kind: &str, body: Value) -> Response<Body> {
    reply(status, &new_id())
        .header("x-amzn-errortype", kind)
        .body(Body::from(body.to_string()))
        .unwrap()
}
