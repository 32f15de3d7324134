//! The releaser on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, begin};
use millrace_releaser::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match begin()?.as_str() {
        "release" => lambda::release().await,
        "repository" => lambda::repository().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
