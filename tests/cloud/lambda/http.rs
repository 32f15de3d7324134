//! What the world calls functions by: HTTP APIs, and addresses of functions.

use crate::lambda::REQUEST_BYTES_MAX;
use crate::lambda::account::REGION;
use crate::lambda::event::{Entry, event, response};
use crate::lambda::function::{Failure, Function};
use crate::lambda::invoke::throttled;
use crate::lambda::invoker::{Invoker, new_id};
use crate::lambda::routes::take;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The longest that an HTTP API waits for a function (Amazon API Gateway Developer Guide, "Quotas for HTTP APIs").
const API_TIME_MAX: Duration = Duration::from_secs(30);

/// What takes requests.
pub struct Front {
    pub invoker: Arc<Invoker>,
    /// Id of the API or of the function's address.
    pub id: String,
    /// Routes with the function behind each; that of a function's address is `$default`.
    pub routes: Vec<(String, String)>,
    /// Whether it is an HTTP API, and no address of a function.
    pub is_api: bool,
}

/// The front as a server.
pub fn router(front: Front) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(front))
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return front.too_large();
    };
    let keys = front.routes.iter().map(|(key, _)| key.as_str());
    let taken = take(keys, parts.method.as_str(), parts.uri.path());
    let function = taken.as_ref().and_then(|taken| front.function(taken.key));
    let (Some(taken), Some(function)) = (taken, function) else {
        return said(StatusCode::NOT_FOUND, "Not Found");
    };
    if !front.is_let_in(function, taken.key) {
        return front.shut_out();
    }
    let account = if front.is_api {
        function.settings.arn.split(':').nth(4).unwrap_or_default()
    } else {
        "anonymous"
    };
    let entry = Entry {
        id: &front.id,
        account,
        route: taken.key,
        variables: taken.variables,
        is_api: front.is_api,
    };
    let event = event(&entry, &parts, &body).to_string();
    if event.len() > REQUEST_BYTES_MAX {
        return front.too_large();
    }
    front.invoke(function, event.into()).await
}

impl Front {
    fn function(&self, key: &str) -> Option<&Arc<Function>> {
        let (_, function) = self.routes.iter().find(|(route, _)| route == key)?;
        self.invoker.find(function)
    }

    async fn invoke(&self, function: &Arc<Function>, event: Bytes) -> Response<Body> {
        let time_max = if self.is_api {
            API_TIME_MAX
        } else {
            Duration::MAX
        };
        let id = new_id();
        match tokio::time::timeout(time_max, function.invoke(&id, event)).await {
            Ok(Ok(answer)) => response(&answer).unwrap_or_else(|| self.failed()),
            Ok(Err(Failure::Error(_))) => self.failed(),
            Ok(Err(Failure::Throttled)) if !self.is_api => Response::builder()
                .status(StatusCode::TOO_MANY_REQUESTS)
                .body(Body::from(throttled().to_string()))
                .unwrap(),
            Ok(Err(Failure::Throttled)) | Err(_) => {
                said(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
            }
        }
    }

    /// What somebody hears whose request the function did not answer.
    fn failed(&self) -> Response<Body> {
        if self.is_api {
            return said(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        }
        Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(Body::from("Internal Server Error"))
            .unwrap()
    }

    /// Whether the function admits the API's route, or a caller that comes through its address: that one needs two rights since October
    /// 2025 (AWS Lambda Developer Guide, "Control access to Lambda function URLs").
    fn is_let_in(&self, function: &Function, key: &str) -> bool {
        let lets =
            |who, action, thing: &str| self.invoker.policy_lets(function, who, action, thing);
        if !self.is_api {
            return lets("*", "lambda:InvokeFunctionUrl", "")
                && lets("*", "lambda:InvokeFunction", "");
        }
        let account = function.settings.arn.split(':').nth(4).unwrap_or_default();
        let thing = format!(
            "arn:aws:execute-api:{REGION}:{account}:{}/$default/{}",
            self.id,
            key.replacen(" /", "/", 1)
        );
        lets("apigateway.amazonaws.com", "lambda:InvokeFunction", &thing)
    }

    fn shut_out(&self) -> Response<Body> {
        if self.is_api {
            self.failed()
        } else {
            said(StatusCode::FORBIDDEN, "Forbidden")
        }
    }

    fn too_large(&self) -> Response<Body> {
        let words = if self.is_api {
            "Request Entity Too Large"
        } else {
            "Request must be smaller than 6291556 bytes"
        };
        said(StatusCode::PAYLOAD_TOO_LARGE, words)
    }
}

fn said(status: StatusCode, words: &str) -> Response<Body> {
    let body = json!({ "message": words }).to_string();
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap()
}
