//! Fetching on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, begin};
use millrace_source::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match begin()?.as_str() {
        "fetch" => lambda::fetch().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
