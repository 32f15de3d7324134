//! A runner under a desk whose clock nobody sets: two minutes before the line's, or behind it. A real one, with a real sandbox.

use crate::owner::{Cloud, QUIET};
use crate::script::now;
use crate::services::config_at;
use millrace_core::platform::Repository;
use millrace_core::task::LEASE_MS;
use millrace_core::{PlatformName, Timestamp};
use millrace_orchestrator::{Desk, Paces, released_repository, router};
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How far the clocks are apart, in milliseconds: twice as much as a lease is long.
const APART_MS: u64 = 2 * LEASE_MS;

/// Opens a desk over the cloud's own stores, by a clock of its own; its address.
async fn desk(cloud: &Cloud, clock: fn() -> Timestamp) -> (String, JoinHandle<()>) {
    let config = config_at(Some(&cloud.stack.endpoint)).await;
    let (url, incoming) = (cloud.lambda.api(), cloud.folder.join("incoming"));
    std::fs::create_dir_all(&incoming).unwrap();
    let released =
        move |platform: &PlatformName| -> Repository { released_repository(&url, platform) };
    let desk = Desk {
        state: DynamoDb::open(&config, cloud.stack.table()),
        blobs: S3::open(&config, cloud.stack.bucket()),
        clock: Arc::new(clock),
        ready: Arc::default(),
        released: Arc::new(released),
        incoming,
        paces: Some(Paces {
            ask_again_s: 1,
            log_pause_s: 5,
            renew_s: 7,
        }),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router(desk)).await.unwrap() });
    (address, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_whose_clock_is_two_minutes_off_keeps_its_leases() {
    let folder = tempfile::tempdir().unwrap();
    let mut cloud = Cloud::start(folder.path(), |_| ()).await;
    cloud.set_up().await;
    let before: fn() -> Timestamp = || now().plus_ms(APART_MS);
    let behind: fn() -> Timestamp = || Timestamp(now().0 - APART_MS);
    for (name, clock) in [("before", before), ("behind", behind)] {
        let (address, serving) = desk(&cloud, clock).await;
        cloud.runner_at(name, &address).await;
        let tree = folder.path().join(format!("{name}-tree"));
        std::fs::create_dir_all(&tree).unwrap();
        let spec = format!(
            "Name: clock-{name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n%description\nx\n%files\n"
        );
        std::fs::write(tree.join(format!("clock-{name}.spec")), spec).unwrap();
        let commit = cloud.push_new(&format!("clock-{name}"), &tree).await;
        let told = cloud.released(&commit).await;
        assert!(
            !told.contains("fell silent") && !told.contains("attempt 2"),
            "{told}"
        );
        cloud.end_runners();
        serving.abort();
    }
    // The line tells itself of each build's end, and the next test finds nothing of this one.
    cloud.lambda.quiet(QUIET).await;
    assert_eq!(cloud.stack.messages().await, 0, "messages are left over");
}
