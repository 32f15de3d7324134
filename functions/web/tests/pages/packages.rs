//! Packages and platforms.

use crate::visit::{get, json};
use millrace_core::BuildId;
use millrace_core::platform::Platform;
use millrace_store::records::put;
use millrace_store::{Expect, Table};
use millrace_view::testing::{World, announced, platform, story};

#[tokio::test]
async fn a_package_has_its_latest_build_on_each_platform() {
    let world = World::busy().await;
    let other = Platform {
        name: "el10".parse().unwrap(),
        ..platform()
    };
    put(
        &world.store,
        Table::Platform,
        "el10",
        Expect::Absent,
        &other,
        Vec::new(),
    )
    .await
    .unwrap();
    for minutes_ago in [3000, 2000] {
        let mut build = story("zlib", "On the other one", minutes_ago).build;
        build.id = BuildId::of_push(&build.push.announced.id, &other.name);
        build.platform = other.clone();
        world.keep(&build).await;
    }
    for minutes_ago in 100..130 {
        world
            .keep(&story("zlib", "On the first", minutes_ago).build)
            .await;
    }
    let latest = |package: &serde_json::Value| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        package["latest"]
            .as_array()
            .unwrap()
            .iter()
            .map(|build| (text(&build["platform"]), text(&build["commit"])))
            .collect()
    };
    let expected = [("almalinux-9", 12), ("el10", 2000)].map(|(name, minutes_ago)| {
        (
            name.to_owned(),
            announced("zlib", minutes_ago).commit.to_string(),
        )
    });
    assert_eq!(
        latest(&json(&world, "/api/v1/packages/zlib").await),
        expected
    );
    let packages = json(&world, "/api/v1/packages").await;
    let zlib = packages["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == "zlib")
        .unwrap();
    assert_eq!(latest(zlib), expected);
}

#[tokio::test]
async fn a_package_has_its_pipeline_and_a_platform_no_password() {
    let world = World::busy().await;
    let page = get(&world, "/packages/zlib").await;
    assert!(
        page.contains("<table class=\"pipeline\">")
            && page.contains("Log of check@aarch64")
            && page.contains("48 s")
    );
    let page = get(&world, "/platforms/almalinux-9").await;
    assert!(page.contains("https://repo.example/9/") && !page.contains("hunter2"));
    assert!(!get(&world, "/api/v1/platforms").await.contains("hunter2"));
    assert!(
        get(&world, "/packages")
            .await
            .contains("/packages/sbsigntools")
    );
    assert!(
        get(&world, "/platforms")
            .await
            .contains("source → rpm → check")
    );
    assert!(
        get(&World::empty(), "/")
            .await
            .contains("Nothing was built yet.")
    );
}
