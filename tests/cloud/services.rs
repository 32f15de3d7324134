//! Where the services are, and things of one's own in them.

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier,
};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use millrace_store::Address;
use millrace_store::aws::sdk_config;
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;

/// The variable that names an address, or [`ACCOUNT`].
const VARIABLE: &str = "MILLRACE_TEST_AWS";

/// The services themselves.
const ACCOUNT: &str = "account";

/// What clients are made from.
pub async fn config() -> SdkConfig {
    let place = std::env::var(VARIABLE)
        .unwrap_or_else(|_| panic!("{VARIABLE} is not set: `cargo xtask test --cloud` sets it"));
    config_at((place != ACCOUNT).then_some(place.as_str())).await
}

/// The same for another address, where every caller is who it says it is.
pub async fn config_at(endpoint: Option<&str>) -> SdkConfig {
    let config = sdk_config(endpoint).await;
    if endpoint.is_none() {
        return config;
    }
    let anybody = Credentials::new("test", "test", None, None, "tests");
    config
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(anybody))
        .build()
}

/// A name that nothing else has.
pub fn name() -> String {
    format!("millrace-test-{:016x}", fastrand::u64(..))
}

/// Runs something to its end beside a runtime that is being used: what is dropped cannot wait.
pub fn wait_for(what: impl Future<Output = ()> + Send + 'static) {
    let thread = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(what);
    });
    // Whatever is left over is reported by the test's own failure.
    let _ = thread.join();
}

/// A table, removed when this is dropped.
pub struct Table {
    pub name: String,
}

impl Table {
    /// An empty one.
    pub async fn new() -> (DynamoDb, Self) {
        let name = name();
        let store = DynamoDb::open(&config().await, &name);
        store.create().await.unwrap();
        (store, Self { name })
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let name = self.name.clone();
        wait_for(async move {
            let client = aws_sdk_dynamodb::Client::new(&config().await);
            client.delete_table().table_name(name).send().await.unwrap();
        });
    }
}

/// A bucket, removed with what is in it when this is dropped.
pub struct Bucket {
    pub name: String,
}

impl Bucket {
    /// An empty one.
    pub async fn new() -> (S3, Self) {
        let (name, config) = (name(), config().await);
        let region = config.region().unwrap().as_ref();
        // The oldest region is the one that must not be named.
        let place = (region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region))
                .build()
        });
        client(&config)
            .create_bucket()
            .bucket(&name)
            .set_create_bucket_configuration(place)
            .send()
            .await
            .unwrap();
        (S3::open(&config, &name), Self { name })
    }

    /// Keys of everything that is in it.
    pub async fn keys(&self) -> Vec<String> {
        let all = client(&config().await)
            .list_objects_v2()
            .bucket(&self.name)
            .send()
            .await
            .unwrap();
        all.contents()
            .iter()
            .map(|object| object.key().unwrap().to_owned())
            .collect()
    }

    /// Uploads that have begun and not ended.
    pub async fn uploads(&self) -> usize {
        let all = client(&config().await)
            .list_multipart_uploads()
            .bucket(&self.name)
            .send()
            .await
            .unwrap();
        all.uploads().len()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let name = self.name.clone();
        wait_for(async move {
            let client = client(&config().await);
            let all = client.list_objects_v2().bucket(&name).send().await.unwrap();
            let object = |key: &str| ObjectIdentifier::builder().key(key).build().unwrap();
            let keys: Vec<_> = all
                .contents()
                .iter()
                .map(|found| object(found.key().unwrap()))
                .collect();
            if !keys.is_empty() {
                let delete = Delete::builder().set_objects(Some(keys)).build().unwrap();
                client
                    .delete_objects()
                    .bucket(&name)
                    .delete(delete)
                    .send()
                    .await
                    .unwrap();
            }
            client.delete_bucket().bucket(&name).send().await.unwrap();
        });
    }
}

/// A client of buckets, beside the one that is tested.
pub fn client(config: &SdkConfig) -> aws_sdk_s3::Client {
    let own = aws_sdk_s3::config::Builder::from(config)
        .force_path_style(config.endpoint_url().is_some())
        .build();
    aws_sdk_s3::Client::from_conf(own)
}

/// What somebody without credentials hears who sends this to an address.
pub async fn send(method: Method, to: &Address, body: &[u8]) -> (StatusCode, Vec<u8>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(&to.url);
    for (name, value) in &to.headers {
        request = request.header(name, value);
    }
    let answer = client
        .request(request.body(Body::from(body.to_vec())).unwrap())
        .await
        .unwrap();
    let status = answer.status();
    (
        status,
        answer
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
}
