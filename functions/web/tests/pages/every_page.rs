//! What holds for all pages: nothing hostile, nothing secret, words for what is missing.

use crate::visit::{ask, get};
use axum::http::{Method, StatusCode};
use millrace_core::push::{PushRecord, PushState};
use millrace_view::testing::{World, announced, build_of};

#[tokio::test]
async fn a_hostile_push_is_shown_as_text() {
    let world = World::busy().await;
    let nano = build_of("nano");
    let mut refused = PushRecord {
        announced: announced("evil", 1),
        state: PushState::Refused {
            reason: "<img src=x>".to_owned(),
        },
    };
    refused.announced.pusher = "<script>".to_owned();
    refused.announced.reference = "refs/heads/<script>".to_owned();
    world.keep_push(&refused).await;
    let paths = [
        "/".to_owned(),
        format!("/builds/{}", nano.id),
        "/packages/nano".to_owned(),
        format!("/pushes/{}", refused.announced.id),
    ];
    for path in paths {
        let page = get(&world, &path).await;
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{path}"
        );
        assert!(page.contains("&lt;script&gt;"), "{path}");
    }
    let log = get(&world, &format!("/builds/{}/tasks/rpm@x86_64/log", nano.id)).await;
    assert!(log.contains("&lt;b&gt;not bold&lt;/b&gt;") && !log.contains('\u{1b}'));
}

#[tokio::test]
async fn every_answer_forbids_script_and_frames() {
    let world = World::busy().await;
    let paths = [
        "/",
        "/nothing",
        "/builds/nothing",
        "/style.css",
        "/api/v1/builds",
        "/api/v1/builds/nothing",
        "/?after=x",
    ];
    for path in paths {
        let answer = ask(&world, Method::GET, path).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self';")
                && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        // In JSON, text is not escaped for HTML: there, its type and `nosniff` keep a browser from reading it as a page.
        let is_page = answer.headers["content-type"] == "text/html; charset=utf-8";
        assert!(
            !is_page || !answer.text.contains("style=\"") && !answer.text.contains("<script"),
            "{path}"
        );
        assert_eq!(
            is_page,
            !path.starts_with("/api") && !path.ends_with(".css"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_words() {
    let world = World::busy().await;
    let zlib = build_of("zlib").id;
    let cases = [
        (
            "/nothing".to_owned(),
            404,
            "There is no page at this address.",
        ),
        (
            "/builds/..%2F..".to_owned(),
            404,
            "There is no build “../..”.",
        ),
        ("/builds/abc".to_owned(), 404, "There is no build “abc”."),
        (
            "/packages/abc".to_owned(),
            404,
            "There is no package “abc”.",
        ),
        (
            format!("/builds/{zlib}/tasks/rpm@s390x/log"),
            404,
            "has no task “rpm@s390x”",
        ),
        (
            format!("/builds/{zlib}/tasks/source/log?attempt=2"),
            404,
            "source has no attempt 2; the latest is 1.",
        ),
        (
            format!("/builds/{}/tasks/source/log", build_of("expat").id),
            404,
            "No runner has taken source yet",
        ),
        (
            "/?after=9".to_owned(),
            400,
            "`after` is no place in this list",
        ),
    ];
    for (path, status, words) in cases {
        let answer = ask(&world, Method::GET, &path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(
            answer.text.contains(words) && answer.text.contains("<main>"),
            "{path}: {}",
            answer.text
        );
    }
    let answer = ask(&world, Method::GET, "/api/v1/builds/abc").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (404, r#"{"error":"There is no build “abc”."}"#)
    );
    let answer = ask(&world, Method::GET, "/api/v1/builds?commit=abc").await;
    assert_eq!(answer.status.as_u16(), 400);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_trouble_without_its_words() {
    let world = World::empty();
    millrace_store::records::put(
        &world.store,
        millrace_store::Table::Build,
        "abc",
        millrace_store::Expect::Absent,
        &"secret",
        Vec::new(),
    )
    .await
    .unwrap();
    let answer = ask(&world, Method::GET, "/builds/abc").await;
    assert_eq!(answer.status.as_u16(), 500);
    assert!(answer.text.contains("Something is wrong here") && !answer.text.contains("secret"));
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body() {
    let world = World::busy().await;
    for path in [
        "/",
        "/packages",
        "/platforms/almalinux-9",
        "/api/v1/packages",
        "/style.css",
    ] {
        let answer = ask(&world, Method::HEAD, path).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::OK, ""),
            "{path}"
        );
    }
    assert_eq!(
        ask(&world, Method::POST, "/").await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}
