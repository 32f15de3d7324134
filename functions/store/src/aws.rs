//! How the services of AWS, and what speaks their protocols, are reached.

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use std::time::Duration;

/// Address of all services, if it is not their own (AWS SDKs and Tools Reference Guide, "Service-specific endpoints").
const ENDPOINT: &str = "AWS_ENDPOINT_URL";

/// How often a call is tried: with the pauses below it, throttling of some seconds passes.
const ATTEMPTS_MAX: u32 = 8;

/// The first pause between two tries, before jitter; each further one is twice as long, up to the next constant.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// How long one try may take until the first byte of its answer: a part of a blob goes up in less on a slow line.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);

/// How long a call may take with all of its tries. It is shorter than any function may run, so that a function can still say what
/// went wrong.
const CALL_MAX: Duration = Duration::from_secs(120);

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What clients are made from. Credentials come from where AWS programs look for them: environment, profile, or the machine's
/// role; the region too. With `endpoint`, everything goes to that address instead of the service's own; `AWS_ENDPOINT_URL` does the
/// same, and `AWS_ENDPOINT_URL_` and a service's name for that service.
///
/// Throttling and answers of the kind 5xx are tried again, with pauses that grow and have jitter, inside a deadline (AWS SDKs and
/// Tools Reference Guide, "Retry behavior").
pub async fn sdk_config(endpoint: Option<&str>) -> SdkConfig {
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(client(endpoint))
        .retry_config(retries())
        .timeout_config(times());
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
        // Services of one's own have no regions; what signs requests wants one all the same.
        if std::env::var_os("AWS_REGION").is_none() {
            config = config.region(Region::new("us-east-1"));
        }
    }
    config.load().await
}

/// As [`sdk_config`], for a function of Lambda, which finds its region and its role's credentials in its environment (AWS Lambda
/// Developer Guide, "Defined runtime environment variables"). It looks nowhere else, and is smaller by all the places where it
/// does not look.
pub fn function_config() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(client(None))
        .retry_config(retries())
        .timeout_config(times())
        .service_config(Environment)
        .region(std::env::var("AWS_REGION").ok().map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ));
    config.set_endpoint_url(std::env::var(ENDPOINT).ok());
    config.build()
}

/// Where single services have addresses of their own.
#[derive(Debug)]
struct Environment;

impl LoadServiceConfig for Environment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().replace(' ', "_").to_uppercase();
        std::env::var(format!("{}_{service}", key.env())).ok()
    }
}

fn client(endpoint: Option<&str>) -> SharedHttpClient {
    let client = aws_smithy_http_client::Builder::new();
    // Reading the machine's certificates takes milliseconds that a function of the cloud starts with: only if they are used.
    let told = std::env::var(ENDPOINT).ok();
    match endpoint.or(told.as_deref()) {
        Some(plain) if plain.starts_with("http://") => client.build_http(),
        Some(_) | None => client
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https(),
    }
}

fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS_MAX)
        .with_initial_backoff(PAUSE)
        .with_max_backoff(PAUSE_MAX)
}

fn times() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_MAX)
        .operation_attempt_timeout(ATTEMPT_MAX)
        .operation_timeout(CALL_MAX)
        .build()
}
