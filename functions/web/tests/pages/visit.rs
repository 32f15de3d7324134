//! What a visitor does: asks for a page and reads it.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use millrace_view::testing::{NOW, World};
use millrace_web::Web;
use std::sync::Arc;
use tower::ServiceExt;

/// The routes of a line.
pub fn router(world: &World) -> Router {
    router_in_parts(world, None)
}

/// The routes, if a log comes in parts of so many bytes.
pub fn router_in_parts(world: &World, part_bytes: Option<u64>) -> Router {
    millrace_web::router(Web {
        state: world.store.clone(),
        blobs: world.store.clone(),
        clock: Arc::new(|| NOW),
        part_bytes,
        url: None,
    })
}

pub struct PageReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

pub async fn ask(world: &World, method: Method, path: &str) -> PageReply {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "line.example:8620")
        .body(Body::empty())
        .unwrap();
    let (parts, body) = router(world).oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8_lossy(&to_bytes(body, usize::MAX).await.unwrap()).into_owned();
    PageReply {
        status: parts.status,
        headers: parts.headers,
        text,
    }
}

pub async fn get(world: &World, path: &str) -> String {
    let answer = ask(world, Method::GET, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.text
}

pub async fn json(world: &World, path: &str) -> serde_json::Value {
    serde_json::from_str(&get(world, path).await).unwrap()
}
