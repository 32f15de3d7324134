//! The orchestrator on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, handler};
use millrace_orchestrator::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match handler()?.as_str() {
        "desk" => lambda::desk().await,
        "messages" => lambda::messages().await,
        "sweep" => lambda::sweep().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
