//! What a function finds in its environment: the template writes it, and says there what each is for.

use aws_config::SdkConfig;
use millrace_core::Timestamp;
use millrace_store::chain;
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;
use millrace_store::state::Cause;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::error;
use tracing::level_filters::LevelFilter;

/// The table that records and messages lie in.
const TABLE: &str = "MILLRACE_TABLE";

/// The bucket of blobs and pointers.
const BUCKET: &str = "MILLRACE_BUCKET";

/// Which function this process is (AWS Lambda Developer Guide, "Defined runtime environment variables").
const HANDLER: &str = "_HANDLER";

/// Something in the environment that is not there, or makes no sense. The person who deploys must act.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// It is not there.
    #[error("the environment has no {0}: the function's resource in the template sets it")]
    Unset(String),
    /// A function that this program is not.
    #[error(
        "this program is not the function `{0}`: the function's resource in the template names its handler"
    )]
    Handler(String),
    /// It makes no sense.
    #[error("{name} makes no sense: {source}")]
    Odd { name: &'static str, source: Cause },
}

/// What clients of services are made from.
pub fn config() -> SdkConfig {
    millrace_store::aws::function_config()
}

/// The line's table. Nothing is asked of it yet.
pub fn state(config: &SdkConfig) -> Result<DynamoDb, EnvironmentError> {
    Ok(DynamoDb::open(config, &variable(TABLE)?))
}

/// The line's bucket. Nothing is asked of it yet.
pub fn blobs(config: &SdkConfig) -> Result<S3, EnvironmentError> {
    Ok(S3::open(config, &variable(BUCKET)?))
}

/// A variable that must be there.
pub fn variable(name: &str) -> Result<String, EnvironmentError> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .ok_or_else(|| EnvironmentError::Unset(name.to_owned()))
}

/// A list of `name=value`, with spaces between; empty if there is no such variable.
pub fn pairs(name: &'static str) -> Result<Vec<(String, String)>, EnvironmentError> {
    let odd = |word: &str| EnvironmentError::Odd {
        name,
        source: format!("`{word}` is not of the form name=value").into(),
    };
    let said = std::env::var(name).unwrap_or_default();
    let pair = |word: &str| {
        word.split_once('=')
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .ok_or_else(|| odd(word))
    };
    said.split_whitespace().map(pair).collect()
}

/// Begins a function: its log, in JSON, as CloudWatch Logs takes it. Answers which of its functions this process is.
pub fn begin() -> Result<String, EnvironmentError> {
    if let Err(error) = millrace_log::start(millrace_log::Format::Json, LevelFilter::INFO) {
        error!(
            problem = chain(&error),
            "what is logged is not what was asked for"
        );
    }
    variable(HANDLER)
}

/// The clock of the machine, which Lambda keeps with the time service of AWS.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
