//! The web view on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, begin};
use millrace_web::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match begin()?.as_str() {
        "web" => lambda::web().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
