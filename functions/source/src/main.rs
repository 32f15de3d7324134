//! Fetching on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, handler};
use millrace_source::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match handler()?.as_str() {
        "fetch" => lambda::fetch().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
