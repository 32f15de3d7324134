//! Logs, as pages and as text.

use crate::visit::{ask, get, router, router_in_parts};
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use futures_util::StreamExt;
use millrace_core::build::{Build, Event};
use millrace_view::testing::{NOW, World, build_of};
use std::time::Duration;
use tower::ServiceExt;

#[tokio::test]
async fn a_long_log_is_shown_from_its_end_and_given_whole_as_text() {
    let world = World::busy().await;
    let pigz = build_of("pigz");
    let line = |n: u32| format!("line {n:06}\n");
    let chunks: Vec<String> = (0..50)
        .map(|chunk| (chunk * 1000..(chunk + 1) * 1000).map(line).collect())
        .collect();
    let bytes: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_bytes()).collect();
    world
        .keep_log(&format!("{}/rpm@x86_64/1", pigz.id), &bytes)
        .await;
    let page = get(
        &world,
        &format!("/builds/{}/tasks/rpm@x86_64/log?attempt=1", pigz.id),
    )
    .await;
    assert!(page.contains(
        "<span id=\"L50000\"><a href=\"#L50000\" tabindex=\"-1\">50000</a>line 049999\n</span>"
    ));
    assert!(!page.contains("line 020000"));
    assert!(
        page.contains("The last 262.1 kB of 600.0 kB") && page.contains(r#"http-equiv="refresh""#)
    );
    let text = ask(
        &world,
        Method::GET,
        &format!("/builds/{}/tasks/rpm@x86_64/log.txt", pigz.id),
    )
    .await;
    assert_eq!(text.text, chunks.concat());
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    let end = ask(
        &world,
        Method::GET,
        &format!("/builds/{}/tasks/rpm@x86_64/log.txt?tail=24", pigz.id),
    )
    .await;
    assert_eq!(
        (
            end.text.as_str(),
            end.headers["content-length"].to_str().unwrap()
        ),
        ("line 049998\nline 049999\n", "24")
    );
    let wrong = ask(
        &world,
        Method::GET,
        &format!("/builds/{}/tasks/rpm@x86_64/log.txt?tail=-1", pigz.id),
    )
    .await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_log_in_parts_names_the_next_part() {
    let world = World::busy().await;
    let pigz = build_of("pigz").id;
    world
        .keep_log(&format!("{pigz}/rpm@x86_64/1"), &[b"0123456789", b"abcdef"])
        .await;
    let mut path = "log.txt?follow=1".to_owned();
    let mut parts = Vec::new();
    for _ in 0..4 {
        let request = Request::get(format!("/builds/{pigz}/tasks/rpm@x86_64/{path}"))
            .body(Body::empty())
            .unwrap();
        let answer = router_in_parts(&world, Some(6))
            .oneshot(request)
            .await
            .unwrap();
        let next = answer.headers()["link"].to_str().unwrap().to_owned();
        path = next
            .strip_prefix('<')
            .and_then(|next| next.strip_suffix(r#">; rel="next""#))
            .unwrap()
            .to_owned();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX)
            .await
            .unwrap();
        parts.push(String::from_utf8(bytes.to_vec()).unwrap());
    }
    assert_eq!(
        parts,
        ["012345", "6789ab", "cdef", ""],
        "and the task still runs, so there may be more"
    );
    assert_eq!(path, "log.txt?attempt=1&from=16");
}

#[tokio::test]
async fn a_log_is_followed_until_its_attempt_ends() {
    let world = World::busy().await;
    let pigz = build_of("pigz").id;
    let (log, id) = (
        format!("/builds/{pigz}/tasks/rpm@x86_64/log.txt?follow=1&tail=4"),
        format!("{pigz}/rpm@x86_64/1"),
    );
    let mut answer = router(&world)
        .oneshot(Request::get(log).body(Body::empty()).unwrap())
        .await
        .unwrap()
        .into_body()
        .into_data_stream();
    assert_eq!(answer.next().await.unwrap().unwrap(), "end\n");
    let written = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.append_to_log(&id, b"more\n").await;
    };
    let (more, ()) = tokio::join!(answer.next(), written);
    assert_eq!(more.unwrap().unwrap(), "more\n");
    let ended = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.append_to_log(&id, b"last\n").await;
        let cancel = Event::Cancel {
            by: "erin".parse().unwrap(),
        };
        millrace_store::advance::<Build>(&world.store, &pigz, cancel, NOW)
            .await
            .unwrap();
    };
    let (last, ()) = tokio::join!(answer.next(), ended);
    assert_eq!(last.unwrap().unwrap(), "last\n");
    assert!(answer.next().await.is_none());
}

#[tokio::test]
async fn only_so_many_follow_logs_at_once_and_the_next_is_told() {
    let world = World::busy().await;
    let (router, pigz) = (router(&world), build_of("pigz").id);
    let follow = |query: &str| {
        let log = format!("/builds/{pigz}/tasks/rpm@x86_64/log.txt?{query}");
        router
            .clone()
            .oneshot(Request::get(log).body(Body::empty()).unwrap())
    };
    let mut followers = Vec::new();
    for _ in 0..100 {
        let answer = follow("follow=1").await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        followers.push(answer);
    }
    let refused = follow("follow=1").await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text = String::from_utf8(
        to_bytes(refused.into_body(), usize::MAX)
            .await
            .unwrap()
            .to_vec(),
    )
    .unwrap();
    assert!(
        text.contains("100 readers follow logs") && text.contains("without `follow=1`"),
        "{text}"
    );
    assert_eq!(
        follow("").await.unwrap().status(),
        StatusCode::OK,
        "what there is can be read as before"
    );
    followers.pop();
    assert_eq!(
        follow("follow=1").await.unwrap().status(),
        StatusCode::OK,
        "who hangs up makes room"
    );
}

#[tokio::test(start_paused = true)]
async fn an_endless_log_is_followed_for_an_hour_and_says_so() {
    let world = World::busy().await;
    let since = tokio::time::Instant::now();
    let text = get(
        &world,
        &format!(
            "/builds/{}/tasks/rpm@x86_64/log.txt?follow=1",
            build_of("pigz").id
        ),
    )
    .await;
    assert!(
        text.ends_with(
            "the end\n\n==> followed for an hour; the log goes on: ask again to see the rest\n"
        ),
        "{text}"
    );
    let waited = since.elapsed().as_secs();
    assert!((3600..3610).contains(&waited), "{waited} s");
}
