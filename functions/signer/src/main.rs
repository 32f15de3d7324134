//! The signer on AWS Lambda.

use millrace_lambda::{EnvironmentError, Error, begin};
use millrace_signer::lambda;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match begin()?.as_str() {
        "sign" => lambda::sign().await,
        other => Err(EnvironmentError::Handler(other.to_owned()).into()),
    }
}
