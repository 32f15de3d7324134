//! What programs are told.

use crate::visit::{ask, json};
use axum::http::Method;
use millrace_view::testing::{World, announced, build_of, story};

#[tokio::test]
async fn the_api_gives_parts_that_come_to_the_whole() {
    let world = World::empty();
    for n in 0..7 {
        world.keep(&story("zlib", "a", 10 + n).build).await;
        world.keep(&story("pigz", "b", 30 + n).build).await;
    }
    let (mut path, mut ids) = ("/api/v1/builds?limit=3&package=zlib".to_owned(), Vec::new());
    loop {
        let part = json(&world, &path).await;
        ids.extend(
            part["builds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|build| build["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = part["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/builds?limit=3&package=zlib&after={next}");
    }
    assert_eq!(ids.len(), 7);
    let commit = announced("pigz", 30).commit;
    let found = json(&world, &format!("/api/v1/builds?commit={commit}")).await;
    assert_eq!(found["builds"][0]["package"], "pigz");
    assert_eq!(found["builds"].as_array().unwrap().len(), 1);
    let sieved = json(
        &world,
        &format!("/api/v1/builds?commit={commit}&package=zlib"),
    )
    .await;
    assert!(sieved["builds"].as_array().unwrap().is_empty());
    let pushes = json(&world, &format!("/api/v1/pushes?commit={commit}")).await;
    assert_eq!(pushes["pushes"][0]["state"], "planned");
}

#[tokio::test]
async fn what_the_api_does_not_know_is_refused_with_what_there_is() {
    let world = World::busy().await;
    let zlib = build_of("zlib").id;
    let list = ["`state`", "`after`", "`limit`", "`package`", "`commit`"];
    let cases: [(&str, &[&str]); 7] = [
        ("/api/v1/builds?state=released", &list),
        ("/api/v1/pushes?limit=3&state=refused", &list),
        ("/api/v1/packages?limit=3", &["`limit`", "`after`"]),
        (
            "/api/v1/platforms?after=a",
            &["`after`", "there are no fields"],
        ),
        (&format!("/api/v1/builds/{zlib}?fields=id"), &["`fields`"]),
        ("/api/v1/packages/zlib?platform=el9", &["`platform`"]),
        (
            "/api/v1/builds?limit=1&limit=2",
            &["duplicate field `limit`"],
        ),
    ];
    for (path, words) in cases {
        let answer = ask(&world, Method::GET, path).await;
        assert_eq!(answer.status.as_u16(), 400, "{path}: {}", answer.text);
        let error = serde_json::from_str::<serde_json::Value>(&answer.text).unwrap()["error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{path}: {error}"
        );
    }
}
