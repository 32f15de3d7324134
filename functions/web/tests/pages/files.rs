//! Files of builds.

use crate::visit::{ask, get};
use axum::http::{Method, StatusCode};
use millrace_view::BuildView;
use millrace_view::testing::{NOW, World, build_of, file, story};

#[tokio::test]
async fn a_file_is_downloaded_and_never_shown() {
    let world = World::busy().await;
    let zlib = build_of("zlib");
    let wanted = file("zlib", "zlib-devel", "aarch64");
    let answer = ask(
        &world,
        Method::GET,
        &format!("/builds/{}/files/{}", zlib.id, wanted.name),
    )
    .await;
    assert_eq!(
        millrace_core::Digest::of(answer.text.as_bytes()),
        wanted.digest
    );
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(
        answer.headers["content-disposition"],
        "attachment; filename*=UTF-8''zlib-devel-1.3.1-3.el9.aarch64.rpm"
    );
    let head = ask(
        &world,
        Method::HEAD,
        &format!("/builds/{}/files/{}", zlib.id, wanted.name),
    )
    .await;
    assert_eq!((head.status, head.text.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers["content-length"], wanted.size.to_string());
    let other = ask(
        &world,
        Method::GET,
        &format!("/builds/{}/files/..%2F..%2Fetc%2Fpasswd", zlib.id),
    )
    .await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn files_of_one_name_are_told_apart_by_task() {
    let noarch = |digest: &[u8]| {
        let mut artifact = file("fonts", "fonts", "noarch");
        artifact.digest = millrace_core::Digest::of(digest);
        artifact.size = digest.len() as u64;
        vec![artifact]
    };
    let build = story("fonts", "a", 9)
        .sourced()
        .passes("rpm@x86_64", 1, "", noarch(b"one"))
        .passes("rpm@aarch64", 1, "", noarch(b"other"))
        .build;
    let world = World::empty();
    world.keep(&build).await;
    for bytes in [&b"one"[..], b"other"] {
        millrace_store::BlobStore::put(&world.store, bytes.to_vec())
            .await
            .unwrap();
    }
    let artifacts = BuildView::of(&build, NOW).artifacts;
    assert_eq!(get(&world, &artifacts[1].href).await, "one");
    assert_eq!(get(&world, &artifacts[2].href).await, "other");
}
