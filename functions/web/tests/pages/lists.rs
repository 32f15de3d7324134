//! Lists of builds and pushes.

use crate::visit::{ask, get};
use axum::http::Method;
use millrace_core::push::{PushRecord, PushState};
use millrace_store::{Stored, Table};
use millrace_view::testing::{World, announced, build_of, story};

#[tokio::test]
async fn the_list_has_builds_and_pushes_without_builds_by_time() {
    let world = World::busy().await;
    let page = get(&world, "/").await;
    let order = [
        "/packages/perl",
        "/packages/expat",
        "/packages/zlib",
        "/packages/zstd",
        "/packages/nano",
        "/packages/httpd",
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|name| {
            page.find(&format!("href=\"{name}\""))
                .unwrap_or_else(|| panic!("{name}"))
        })
        .collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(
        page.contains("zstd-1.5.7.tar.gz has the digest"),
        "the reason of a refusal is in the list"
    );
    assert!(page.contains(r#"http-equiv="refresh""#));
}

#[tokio::test]
async fn pages_of_the_list_have_everything_once() {
    let world = World::empty();
    for n in 0..120 {
        world
            .keep(&story("zlib", &format!("commit {n:03}."), 10 + n).build)
            .await;
    }
    let (mut path, mut seen) = ("/".to_owned(), String::new());
    for _ in 0..20 {
        let page = get(&world, &path).await;
        seen.push_str(&page);
        let Some(next) = page.split("rel=\"next\" href=\"").nth(1) else {
            break;
        };
        path = next.split('"').next().unwrap().replace("&amp;", "&");
    }
    let counts: Vec<usize> = (0..120)
        .map(|n| seen.matches(&format!("commit {n:03}.")).count())
        .collect();
    assert_eq!(counts, [1; 120]);
}

#[tokio::test]
async fn records_that_cannot_be_read_are_left_out_of_lists() {
    let world = World::busy().await;
    let (nano, zstd) = (build_of("nano"), announced("zstd", 20));
    world
        .spoil(Table::Build, nano.id.as_str(), nano.index_entries())
        .await;
    let refused = PushRecord {
        announced: zstd.clone(),
        state: PushState::Fetching,
    };
    world
        .spoil(Table::Push, zstd.id.as_str(), refused.index_entries())
        .await;
    world.spoil(Table::Package, "curl", Vec::new()).await;
    world.spoil(Table::Platform, "broken", Vec::new()).await;
    let push = format!("/pushes/{}", nano.push.announced.id);
    for path in [
        "/",
        "/packages",
        "/platforms",
        "/packages/nano",
        "/api/v1/builds",
        "/api/v1/pushes",
        "/api/v1/packages",
        &push,
    ] {
        let text = get(&world, path).await;
        assert!(!text.contains("secret"), "{path}");
    }
    let page = get(&world, "/").await;
    assert!(
        page.contains("/packages/zlib")
            && !page.contains("/packages/nano")
            && !page.contains("/packages/zstd")
    );
    let page = get(&world, "/packages").await;
    assert!(page.contains("/packages/zlib") && !page.contains("/packages/curl"));
    let page = get(&world, "/platforms").await;
    assert!(page.contains("/platforms/almalinux-9") && !page.contains("/platforms/broken"));
    assert_eq!(
        ask(&world, Method::GET, &format!("/builds/{}", nano.id))
            .await
            .status
            .as_u16(),
        500,
        "asked for by itself, it is trouble"
    );
}
