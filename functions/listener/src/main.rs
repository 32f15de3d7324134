//! The listener on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, begin};
use millrace_listener::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match begin()?.as_str() {
        "hooks" => lambda::hooks().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
