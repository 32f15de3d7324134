//! The signer on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, handler};
use millrace_signer::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match handler()?.as_str() {
        "sign" => lambda::sign().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
