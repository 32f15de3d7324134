//! A function with an address: the same routes that the line on one machine serves.

use axum::Router;
use axum::body::to_bytes;
use axum::response::Response;
use lambda_http::http::StatusCode;
use lambda_http::tower::ServiceExt;
use lambda_http::{Body, IntoResponse, Request};
use lambda_runtime::Error;
use millrace_store::chain;
use std::pin::Pin;
use tracing::error;

/// Largest answer, in bytes: Lambda takes 6 MB (AWS Lambda quotas, "Invocation payload"), and refuses what base64 makes larger.
const ANSWER_BYTES_MAX: usize = 6_000_000;

/// Answers what comes over a function's URL or over the line's HTTP API, for ever.
pub async fn serve(routes: Router) -> Result<(), Error> {
    lambda_http::run(ServiceExt::<Request>::map_response(routes, LambdaResponse)).await
}

/// An answer as Lambda takes it: text as it is, and anything else in base64. What `lambda_http` makes of a [`Response`] by itself knows
/// the alphabets of all languages, and has a quarter of a megabyte of tables for them; the line's own texts are UTF-8.
struct LambdaResponse(Response);

impl IntoResponse for LambdaResponse {
    fn into_response(
        self,
    ) -> Pin<Box<dyn Future<Output = lambda_http::http::Response<Body>> + Send>> {
        Box::pin(whole(self.0))
    }
}

/// Reads an answer to its end. One that breaks off was not begun, as far as the client can see.
async fn whole(answer: Response) -> lambda_http::http::Response<Body> {
    let (head, body) = answer.into_parts();
    match to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(bytes) => Response::from_parts(head, carried(bytes.into())),
        Err(error) => {
            error!(problem = chain(&error), "an answer broke off");
            let mut answer = Response::new(Body::from(
                "the answer broke off: try again; or it has more than 6 MB, which AWS Lambda does not carry\n",
            ));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}

fn carried(bytes: Vec<u8>) -> Body {
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => Body::Empty,
        Ok(text) => Body::Text(text),
        Err(other) => Body::Binary(other.into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn text_is_carried_as_it_is_and_bytes_as_bytes() {
        for (bytes, carried) in [
            (b"".to_vec(), Body::Empty),
            (
                "Gr\u{fc}n \u{1f7e2}".into(),
                Body::Text("Gr\u{fc}n \u{1f7e2}".to_owned()),
            ),
            (vec![0x1f, 0x8b, 0xff], Body::Binary(vec![0x1f, 0x8b, 0xff])),
        ] {
            let answer = whole(
                Response::builder()
                    .status(201)
                    .header("x-one", "1")
                    .body(bytes.into())
                    .unwrap(),
            )
            .await;
            assert_eq!(
                (
                    answer.status().as_u16(),
                    answer.headers()["x-one"].to_str().unwrap()
                ),
                (201, "1")
            );
            assert_eq!(answer.into_body(), carried);
        }
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_no_answer() {
        let pieces = [
            Ok("the beginning"),
            Err(std::io::Error::other("the store is gone")),
        ];
        let answer = whole(Response::new(axum::body::Body::from_stream(
            futures_util::stream::iter(pieces),
        )))
        .await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert!(
            matches!(answer.into_body(), Body::Text(words) if words.starts_with("the answer broke off"))
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_none_either() {
        let answer = whole(Response::new(vec![b'a'; ANSWER_BYTES_MAX + 1].into())).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    }
}
