//! A function with an address: the same routes that the line on one machine serves.

use axum::Router;
use lambda_runtime::Error;

/// Answers what comes over a function's URL or over the line's HTTP API, for ever.
pub async fn serve(routes: Router) -> Result<(), Error> {
    lambda_http::run(routes).await
}
