//! What forges deliver, and what they hear.

use crate::forge::{Line, NOW, SECRET, push_body};
use millrace_core::order::Effect;
use millrace_core::push::{Package, PushState};
use millrace_listener::{BODY_BYTES_MAX, Secret};
use millrace_store::builds::load_push;
use millrace_store::index::{PUSHES, package_pushes_index};
use millrace_store::memory::MemoryStore;
use millrace_store::packages::{RegisterError, register};
use millrace_store::records::all;
use millrace_store::{StateStore, Table};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const URL: &str = "https://forge.example/rpms/zlib.git";

fn commit() -> String {
    "0123456789abcdef0123456789abcdef01234567".to_owned()
}

fn push() -> Value {
    push_body(URL, "refs/heads/main", &commit())
}

fn accepted() -> Value {
    json!({"status": "accepted", "push": "e5bb014e75df", "message": "zlib: branch main at 0123456789ab is being fetched"})
}

#[tokio::test]
async fn a_push_is_accepted_and_ordered_to_be_fetched() {
    let line = Line::new().await;
    line.register(URL).await;
    assert_eq!(line.gitea("push", "d-1", &push()).await, (202, accepted()));
    let [Effect::Fetch(announced)] = &line.effects().await[..] else {
        panic!("nothing to fetch")
    };
    let expected = json!({
        "id": "e5bb014e75df", "package": "zlib", "clone_url": URL, "reference": "refs/heads/main", "commit": commit(), "pusher": "dana",
        "received": NOW.0,
    });
    assert_eq!(serde_json::to_value(announced).unwrap(), expected);
    let (record, _) = load_push(&line.store, &announced.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (record.announced, record.state),
        (announced.clone(), PushState::Fetching)
    );
    for index in [PUSHES.to_owned(), package_pushes_index(&announced.package)] {
        let hits = line.store.index_entries(&index, None, 10).await.unwrap();
        assert_eq!(
            hits.iter()
                .map(|hit| hit.key.id.as_str())
                .collect::<Vec<_>>(),
            ["e5bb014e75df"]
        );
    }
}

#[tokio::test]
async fn a_repeated_delivery_gets_the_same_answer_and_starts_nothing() {
    let line = Line::new().await;
    line.register(URL).await;
    line.gitea("push", "d-1", &push()).await;
    assert_eq!(line.effects().await.len(), 1);
    assert_eq!(line.gitea("push", "d-1", &push()).await, (202, accepted()));
    assert_eq!(line.effects().await, []);
}

#[tokio::test]
async fn a_repeat_after_the_push_has_ended_gets_the_same_answer() {
    let line = Line::new().await;
    line.register(URL).await;
    let records = |line: &Line| {
        let store = line.store.clone();
        async move {
            let mut count = 0;
            for table in Table::ALL {
                count += store.list(table, None, 100).await.unwrap().len();
            }
            count
        }
    };
    let before = records(&line).await;
    line.gitea("push", "d-1", &push()).await;
    assert_eq!(records(&line).await, before + 1);
    let [Effect::Fetch(announced)] = &line.effects().await[..] else {
        panic!("nothing to fetch")
    };
    line.given_up(announced).await;
    assert_eq!(line.gitea("push", "d-1", &push()).await, (202, accepted()));
    assert_eq!(
        (records(&line).await, line.effects().await),
        (before + 1, Vec::new())
    );
}

#[tokio::test]
async fn an_id_that_is_another_deliverys_is_refused() {
    let line = Line::new().await;
    line.register(URL).await;
    line.gitea("push", "d-1", &push()).await;
    let other = push_body(URL, "refs/heads/other", &commit());
    let message = "push e5bb014e75df is another delivery's already: push again";
    assert_eq!(
        line.gitea("push", "d-1", &other).await,
        (409, json!({"status": "refused", "message": message}))
    );
}

#[tokio::test]
async fn of_many_deliveries_at_once_one_starts_something() {
    let line = Line::with(MemoryStore::with_yields()).await;
    line.register(URL).await;
    let body = push();
    let one = || line.gitea("push", "d-1", &body);
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    for answer in [a, b, c, d] {
        assert_eq!(answer, (202, accepted()));
    }
    assert_eq!(line.effects().await.len(), 1);
}

#[tokio::test]
async fn one_delivery_id_of_two_forges_is_two_pushes() {
    let line = Line::new().await;
    line.register(URL).await;
    let body = push().to_string().into_bytes();
    let signature = Secret::new(SECRET).unwrap().sign(&body);
    line.gitea("push", "d-1", &push()).await;
    let headers = [
        ("X-Forgejo-Event", "push"),
        ("X-Forgejo-Delivery", "d-1"),
        ("X-Forgejo-Signature", &signature),
    ];
    let (code, answer) = line.post("/hooks/forgejo", &headers, &body).await;
    assert_eq!((code, &answer["status"]), (202, &json!("accepted")));
    assert_ne!(answer["push"], accepted()["push"]);
    assert_eq!(line.effects().await.len(), 2);
}

#[tokio::test]
async fn github_is_understood_in_its_own_words() {
    let line = Line::new().await;
    line.register(URL).await;
    let body = json!({
        "ref": "refs/tags/v1", "before": "0".repeat(40), "after": commit(), "created": true, "deleted": false, "forced": false,
        "repository": {"id": 1, "name": "zlib", "full_name": "rpms/zlib", "clone_url": URL}, "pusher": {"name": "dana", "email": null},
    });
    let body = body.to_string().into_bytes();
    let signature = format!("sha256={}", Secret::new(SECRET).unwrap().sign(&body));
    let headers = [
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", "g-1"),
        ("X-Hub-Signature-256", &signature),
    ];
    let (code, answer) = line.post("/hooks/github", &headers, &body).await;
    assert_eq!(
        (code, &answer["message"]),
        (202, &json!("zlib: tag v1 at 0123456789ab is being fetched"))
    );

    let signature = format!("sha256={}", Secret::new(SECRET).unwrap().sign(b"{}"));
    let headers = [
        ("X-GitHub-Event", "ping"),
        ("X-GitHub-Delivery", "g-2"),
        ("X-Hub-Signature-256", &signature),
    ];
    let answer = line.post("/hooks/github", &headers, b"{}").await;
    assert_eq!(
        answer,
        (
            200,
            json!({"status": "ignored", "message": "the line hears you: the next push is built"})
        )
    );
}

async fn refused(line: &Line, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let (code, answer) = line.post("/hooks/gitea", headers, body).await;
    assert_eq!(answer["status"], "refused");
    assert!(!answer.to_string().contains(SECRET));
    assert_eq!(line.effects().await, []);
    assert!(
        line.store
            .list(Table::Push, None, 10)
            .await
            .unwrap()
            .is_empty(),
        "a refused delivery is kept"
    );
    (code, answer["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_wrong_or_missing_signature_is_refused_with_401() {
    let line = Line::new().await;
    line.register(URL).await;
    let body = push().to_string().into_bytes();
    let wrong = Secret::new("another secret of some length")
        .unwrap()
        .sign(&body);
    let headers = [
        ("X-Gitea-Event", "push"),
        ("X-Gitea-Delivery", "d-1"),
        ("X-Gitea-Signature", &wrong),
    ];
    let words = "the signature is wrong: set the same webhook secret in the forge as in the line";
    assert_eq!(
        refused(&line, &headers, &body).await,
        (401, words.to_owned())
    );
    let words = "the delivery has no signature: set the line's webhook secret in the forge";
    assert_eq!(
        refused(&line, &headers[..2], &body).await,
        (401, words.to_owned())
    );
}

#[tokio::test]
async fn a_body_is_not_read_before_its_signature_is_right() {
    let line = Line::new().await;
    let headers = [
        ("X-Gitea-Event", "push"),
        ("X-Gitea-Delivery", "d-1"),
        ("X-Gitea-Signature", "00"),
    ];
    assert_eq!(refused(&line, &headers, b"no JSON").await.0, 401);
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_the_largest_is_read() {
    let line = Line::new().await;
    let words = "the body has more than 5242880 bytes: push fewer commits at once";
    assert_eq!(
        refused(&line, &[], &vec![b' '; BODY_BYTES_MAX + 1]).await,
        (413, words.to_owned())
    );
    assert_eq!(
        refused(&line, &[], &vec![b' '; BODY_BYTES_MAX]).await.0,
        401
    );
}

#[tokio::test]
async fn a_body_that_is_no_whole_json_is_refused_with_the_place() {
    let line = Line::new().await;
    let whole = push().to_string();
    let cases = [
        (
            &whole[..40],
            "",
            "the body is no push event in JSON: EOF while parsing a string at line 1 column 40",
        ),
        (
            "payload=%7B%7D",
            "application/x-www-form-urlencoded",
            "the body is no push event in JSON; set the webhook's content type to application/json: expected value at line 1 column 1",
        ),
        (
            "{}",
            "application/json",
            "the body is no push event in JSON: missing field `ref` at line 1 column 2",
        ),
    ];
    for (body, kind, words) in cases {
        let signature = Secret::new(SECRET).unwrap().sign(body.as_bytes());
        let headers = [
            ("X-Gitea-Event", "push"),
            ("X-Gitea-Delivery", "d-1"),
            ("X-Gitea-Signature", &signature),
            ("Content-Type", kind),
        ];
        assert_eq!(
            refused(&line, &headers, body.as_bytes()).await,
            (400, words.to_owned())
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_on_the_wire_is_refused_with_400() {
    let line = Line::new().await;
    let mut wire = tokio::net::TcpStream::connect(line.address.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let head = "POST /hooks/gitea HTTP/1.1\r\nHost: line\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{\"ref\"";
    wire.write_all(head.as_bytes()).await.unwrap();
    wire.shutdown().await.unwrap();
    let mut answer = String::new();
    wire.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("the body did not arrive whole: deliver again"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_delivery_without_event_or_id_is_refused_with_400() {
    let line = Line::new().await;
    let body = push().to_string().into_bytes();
    let signature = Secret::new(SECRET).unwrap().sign(&body);
    let signed = ("X-Gitea-Signature", signature.as_str());
    let words = "the delivery has no event header: is it from gitea?";
    assert_eq!(
        refused(&line, &[signed], &body).await,
        (400, words.to_owned())
    );
    let words = "the delivery has no delivery header: is it from gitea?";
    assert_eq!(
        refused(&line, &[signed, ("X-Gitea-Event", "push")], &body).await,
        (400, words.to_owned())
    );
    let odd = [
        signed,
        ("X-Gitea-Event", "push"),
        ("X-Gitea-Delivery", "a b"),
    ];
    assert_eq!(refused(&line, &odd, &body).await.0, 400);
}

#[tokio::test]
async fn a_push_to_an_unregistered_repository_is_refused() {
    let line = Line::new().await;
    let message = "nobody registered rpms/zlib: do it with `millrace package add zlib https://forge.example/rpms/zlib.git`, then deliver again";
    assert_eq!(
        line.gitea("push", "d-1", &push()).await,
        (404, json!({"status": "refused", "message": message}))
    );
    assert_eq!(line.effects().await, []);
    line.register(URL).await;
    assert_eq!(line.gitea("push", "d-1", &push()).await, (202, accepted()));
}

#[tokio::test]
async fn what_the_line_does_not_act_on_is_ignored_with_a_word() {
    let line = Line::new().await;
    line.register(URL).await;
    let deleted = push_body(URL, "refs/heads/old", &"0".repeat(40));
    let repository = deleted["repository"].clone();
    let cases = [
        (
            "push",
            deleted,
            "refs/heads/old was deleted: nothing to build",
        ),
        (
            "push",
            push_body(URL, "refs/pull/7/head", &commit()),
            "refs/pull/7/head is neither branch nor tag",
        ),
        (
            "delete",
            json!({"ref": "old", "ref_type": "branch"}),
            "old was deleted: nothing to build",
        ),
        (
            "repository",
            json!({"action": "deleted", "repository": repository}),
            "rpms/zlib is gone; what was built from it stays",
        ),
        ("issues", json!({}), "the line does not act on `issues`"),
    ];
    for (event, body, words) in cases {
        assert_eq!(
            line.gitea(event, "d-1", &body).await,
            (200, json!({"status": "ignored", "message": words}))
        );
    }
    assert_eq!(line.effects().await, []);
}

#[tokio::test]
async fn a_new_repository_becomes_a_package_once() {
    let line = Line::new().await;
    let created = json!({"action": "created", "repository": push()["repository"]});
    let message =
        "zlib is a package of the line; pushes to https://forge.example/rpms/zlib.git are built";
    let answer = (201, json!({"status": "registered", "message": message}));
    assert_eq!(line.gitea("repository", "d-1", &created).await, answer);
    assert_eq!(line.gitea("repository", "d-1", &created).await, answer);
    assert_eq!(line.gitea("repository", "d-2", &created).await, answer);
    let package = Package::new("zlib".parse().unwrap(), URL.to_owned(), Vec::new(), NOW);
    assert_eq!(
        all::<Package>(&line.store, Table::Package).await.unwrap(),
        [package]
    );
    assert_eq!(line.gitea("push", "d-3", &push()).await.0, 202);
}

#[tokio::test]
async fn a_new_repository_does_not_take_another_ones_name() {
    let line = Line::new().await;
    line.register("https://forge.example/core/zlib").await;
    let created = json!({"action": "created", "repository": push()["repository"]});
    let message = "zlib is already the package of https://forge.example/core/zlib: \
        give https://forge.example/rpms/zlib.git another name with `millrace package add NAME https://forge.example/rpms/zlib.git`";
    assert_eq!(
        line.gitea("repository", "d-1", &created).await,
        (409, json!({"status": "refused", "message": message}))
    );
    assert_eq!(line.gitea("push", "d-2", &push()).await.0, 404);
}

#[tokio::test]
async fn a_repository_that_is_created_again_keeps_its_platforms() {
    let line = Line::new().await;
    let mut package = Package::new(
        "zlib".parse().unwrap(),
        URL.to_owned(),
        vec!["el-9".parse().unwrap()],
        NOW,
    );
    register(&line.store, package.clone()).await.unwrap();
    let created = json!({"action": "created", "repository": push()["repository"]});
    assert_eq!(line.gitea("repository", "d-1", &created).await.0, 201);
    assert_eq!(
        all::<Package>(&line.store, Table::Package).await.unwrap(),
        [package.clone()]
    );

    package.platforms = vec!["el-10".parse().unwrap()];
    let later = Package {
        registered: NOW.plus_ms(1),
        ..package.clone()
    };
    assert_eq!(register(&line.store, later).await.unwrap(), package);
    let other = Package {
        name: "zlib-ng".parse().unwrap(),
        ..package.clone()
    };
    let refused = register(&line.store, other).await.unwrap_err();
    assert!(
        matches!(&refused, RegisterError::RepositoryTaken { package, .. } if package.as_str() == "zlib"),
        "{refused}"
    );
    assert_eq!(
        all::<Package>(&line.store, Table::Package).await.unwrap(),
        [package]
    );
}
