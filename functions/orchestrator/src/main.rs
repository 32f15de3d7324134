//! The orchestrator on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, begin};
use millrace_orchestrator::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match begin()?.as_str() {
        "desk" => lambda::desk().await,
        "messages" => lambda::messages().await,
        "sweep" => lambda::sweep().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
