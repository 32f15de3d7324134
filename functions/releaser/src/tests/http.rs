//! Repositories over HTTP, request by request.

use super::rpms::{Variant, package, packages};
use super::{NOW, NamedSeal, order, platform, released};
use crate::{prepare, publish, rollback, router};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::{Router, http};
use millrace_core::Digest;
use millrace_store::BlobStore;
use millrace_store::memory::MemoryStore;
use tower::ServiceExt;

pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Response {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

pub fn routes(store: &MemoryStore) -> Router {
    Router::new().nest("/repo", router(store.clone(), None))
}

async fn ask(store: &MemoryStore, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "line.example:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = routes(store)
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let (
        http::response::Parts {
            status, headers, ..
        },
        body,
    ) = response.into_parts();
    Response {
        status,
        headers,
        body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
    }
}

pub async fn get(store: &MemoryStore, path: &str) -> Response {
    ask(store, "GET", path, &[]).await
}

const PACKAGE: &str = "/repo/el-9/x86_64/os/Packages/t/tally-1.0~rc1-1.el9.x86_64.rpm";

/// A store in which one build is released.
async fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let order = order(
        &store,
        "first",
        &packages(Variant::First).iter().collect::<Vec<_>>(),
    )
    .await;
    publish(&order, &NamedSeal, &store, NOW).await.unwrap();
    store
}

#[tokio::test]
async fn a_package_is_served_with_what_caches_need() {
    let (store, wanted) = (store().await, package(Variant::First, "tally"));
    let answer = get(&store, PACKAGE).await;
    assert_eq!(
        (answer.status, &answer.body),
        (StatusCode::OK, &wanted.bytes)
    );
    let tag = format!("\"{}\"", Digest::of(&wanted.bytes).hex());
    assert_eq!(answer.header("etag"), tag);
    assert_eq!(answer.header("content-type"), "application/x-rpm");
    assert_eq!(
        answer.header("cache-control"),
        "max-age=60, must-revalidate"
    );
    assert_eq!(
        answer.header("content-length"),
        wanted.bytes.len().to_string()
    );
    let known = ask(&store, "GET", PACKAGE, &[("if-none-match", &tag)]).await;
    assert_eq!(
        (known.status, known.body.len(), known.header("etag")),
        (StatusCode::NOT_MODIFIED, 0, &tag[..])
    );
    let head = ask(&store, "HEAD", PACKAGE, &[]).await;
    assert_eq!(
        (head.status, head.body.len(), head.header("content-length")),
        (StatusCode::OK, 0, answer.header("content-length"))
    );
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_where_it_was() {
    let (store, wanted) = (store().await, &package(Variant::First, "tally").bytes);
    let part = ask(&store, "GET", PACKAGE, &[("range", "bytes=100-199")]).await;
    assert_eq!(
        (part.status, &part.body[..]),
        (StatusCode::PARTIAL_CONTENT, &wanted[100..200])
    );
    assert_eq!(
        part.header("content-range"),
        format!("bytes 100-199/{}", wanted.len())
    );
    let (tag, other) = (part.header("etag").to_owned(), "\"another\"");
    let rest = ask(
        &store,
        "GET",
        PACKAGE,
        &[("range", "bytes=200-"), ("if-range", &tag)],
    )
    .await;
    assert_eq!(
        (rest.status, &rest.body[..]),
        (StatusCode::PARTIAL_CONTENT, &wanted[200..])
    );
    let changed = ask(
        &store,
        "GET",
        PACKAGE,
        &[("range", "bytes=200-"), ("if-range", other)],
    )
    .await;
    assert_eq!((changed.status, &changed.body), (StatusCode::OK, wanted));
    let beyond = ask(
        &store,
        "GET",
        PACKAGE,
        &[("range", &format!("bytes={}-", wanted.len()))],
    )
    .await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        beyond.header("content-range"),
        format!("bytes */{}", wanted.len())
    );
}

#[tokio::test]
async fn a_line_that_knows_its_address_tells_that_one_whatever_a_client_came_by() {
    let store = store().await;
    let routes = Router::new().nest(
        "/repo",
        router(store.clone(), Some("https://rpms.example.org".to_owned())),
    );
    let request = Request::get("/repo/el-9/el-9.repo")
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example");
    let answer = routes
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let text = String::from_utf8(
        to_bytes(answer.into_body(), usize::MAX)
            .await
            .unwrap()
            .to_vec(),
    )
    .unwrap();
    assert!(
        text.contains("mirrorlist=https://rpms.example.org/repo/el-9/$basearch/os/mirrorlist\n"),
        "{text}"
    );
    assert!(!text.contains("evil"), "{text}");
}

#[tokio::test]
async fn a_plus_in_a_name_may_be_written_either_way() {
    let (store, wanted) = (store().await, &package(Variant::First, "tally-c++").bytes);
    for name in [
        "tally-c++-1.0~rc1-1.el9.x86_64.rpm",
        "tally-c%2B%2B-1.0%7Erc1-1.el9.x86_64.rpm",
        "tally-c%2b%2b-1.0~rc1-1.el9.x86_64.rpm",
    ] {
        let answer = get(&store, &format!("/repo/el-9/x86_64/os/Packages/t/{name}")).await;
        assert_eq!(
            (answer.status, &answer.body),
            (StatusCode::OK, wanted),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_tilde_and_a_caret_in_a_name_may_be_written_either_way_under_every_address() {
    let (store, wanted) = (MemoryStore::new(), packages(Variant::Caret));
    publish(
        &order(&store, "build", &wanted.iter().collect::<Vec<_>>()).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    publish(
        &order(&store, "other", &[package(Variant::First, "tally-c++")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let (_, generation) = crate::current(&platform().name, &store)
        .await
        .unwrap()
        .unwrap();
    let (caret, plus) = (
        &package(Variant::Caret, "tally-c++").bytes,
        &package(Variant::First, "tally-c++").bytes,
    );
    let source = &super::rpms::source(Variant::Caret).bytes;
    for top in [
        "/repo/el-9".to_owned(),
        format!("/repo/el-9/gen/{}", generation.hex()),
    ] {
        for (path, wanted) in [
            (
                "x86_64/os/Packages/t/tally-c++-1.0^git1-1.el9.x86_64.rpm",
                caret,
            ),
            (
                "x86_64/os/Packages/t/tally-c++-1.0%5Egit1-1.el9.x86_64.rpm",
                caret,
            ),
            (
                "x86_64/os/Packages/t/tally-c%2b%2b-1.0%5egit1-1.el9.x86_64.rpm",
                caret,
            ),
            (
                "x86_64/os/Packages/t/tally-c++-1.0~rc1-1.el9.x86_64.rpm",
                plus,
            ),
            (
                "x86_64/os/Packages/t/tally-c%2B%2B-1.0%7Erc1-1.el9.x86_64.rpm",
                plus,
            ),
            ("source/Packages/t/tally-1.0^git1-1.el9.src.rpm", source),
            ("source/Packages/t/tally-1.0%5Egit1-1.el9.src.rpm", source),
        ] {
            let answer = get(&store, &format!("{top}/{path}")).await;
            assert_eq!(
                (answer.status, &answer.body),
                (StatusCode::OK, wanted),
                "{top}/{path}"
            );
        }
    }
    let primary = &super::metadata::served(&store, "x86_64/os").await["primary.xml"];
    assert!(
        primary.contains("href=\"Packages/t/tally-c++-1.0^git1-1.el9.x86_64.rpm\""),
        "{primary}"
    );
}

#[tokio::test]
async fn no_cache_keeps_what_repeats_the_address_that_a_visitor_claims_to_have_come_by() {
    let store = store().await;
    for path in ["/repo/el-9/el-9.repo", "/repo/el-9/x86_64/os/mirrorlist"] {
        let claimed = ask(
            &store,
            "GET",
            path,
            &[("x-forwarded-host", "elsewhere.example")],
        )
        .await;
        assert!(
            claimed.text().contains("elsewhere.example"),
            "{}",
            claimed.text()
        );
        assert_eq!(claimed.header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn only_what_never_means_other_bytes_is_called_immutable() {
    let (store, forever, minute) = (
        store().await,
        "max-age=31536000, immutable",
        "max-age=60, must-revalidate",
    );
    let (then, digest) = crate::current(&platform().name, &store)
        .await
        .unwrap()
        .unwrap();
    let primary = then.repositories["x86_64/os"]
        .repodata
        .keys()
        .find(|name| name.ends_with("-primary.xml.gz"))
        .unwrap();
    let pinned = PACKAGE.replace("/el-9/", &format!("/el-9/gen/{}/", digest.hex()));
    let metadata = "/repo/el-9/x86_64/os/repodata";
    for (path, cache) in [
        (PACKAGE.to_owned(), minute),
        (pinned, forever),
        (format!("{metadata}/{primary}"), forever),
        (format!("{metadata}/repomd.xml"), minute),
        (format!("{metadata}/repomd.xml.asc"), minute),
        ("/repo/el-9/RPM-GPG-KEY-millrace".to_owned(), minute),
    ] {
        assert_eq!(
            get(&store, &path).await.header("cache-control"),
            cache,
            "{path}"
        );
    }
    // The same name and version come back with other bytes, once the first were taken away.
    let only = MemoryStore::new();
    prepare(&platform(), &NamedSeal, &only, NOW).await.unwrap();
    for variant in [Variant::First, Variant::Again] {
        let build = if matches!(variant, Variant::First) {
            "first"
        } else {
            "again"
        };
        publish(
            &order(&only, build, &[package(variant, "tally")]).await,
            &NamedSeal,
            &only,
            NOW,
        )
        .await
        .unwrap();
        let answer = get(&only, PACKAGE).await;
        assert_eq!(
            (&answer.body, answer.header("cache-control")),
            (&package(variant, "tally").bytes, minute)
        );
        rollback(&platform().name, 1, &NamedSeal, &only, NOW)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_repo_file_names_the_address_that_the_client_came_by() {
    let store = store().await;
    let plain = get(&store, "/repo/el-9/el-9.repo").await.text();
    let expected = "\
[millrace-el-9]
name=millrace el-9
mirrorlist=http://line.example:8080/repo/el-9/$basearch/os/mirrorlist
#baseurl=http://line.example:8080/repo/el-9/$basearch/os/
enabled=1
gpgcheck=1
repo_gpgcheck=1
gpgkey=http://line.example:8080/repo/el-9/RPM-GPG-KEY-millrace
metadata_expire=60

[millrace-el-9-debug]
name=millrace el-9 - debuginfo
mirrorlist=http://line.example:8080/repo/el-9/$basearch/debug/mirrorlist
#baseurl=http://line.example:8080/repo/el-9/$basearch/debug/
enabled=0
gpgcheck=1
repo_gpgcheck=1
gpgkey=http://line.example:8080/repo/el-9/RPM-GPG-KEY-millrace
metadata_expire=60

[millrace-el-9-source]
name=millrace el-9 - sources
mirrorlist=http://line.example:8080/repo/el-9/source/mirrorlist
#baseurl=http://line.example:8080/repo/el-9/source/
enabled=0
gpgcheck=1
repo_gpgcheck=1
gpgkey=http://line.example:8080/repo/el-9/RPM-GPG-KEY-millrace
metadata_expire=60
";
    assert_eq!(plain, expected);
    let behind = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "rpms.example"),
    ];
    let proxied = ask(&store, "GET", "/repo/el-9/el-9.repo", &behind)
        .await
        .text();
    assert!(
        proxied.contains("gpgkey=https://rpms.example/repo/el-9/"),
        "{proxied}"
    );
    let forged = ask(
        &store,
        "GET",
        "/repo/el-9/el-9.repo",
        &[("x-forwarded-host", "evil\" x=\"y")],
    )
    .await
    .text();
    assert!(!forged.contains("evil"), "{forged}");
    assert_eq!(
        get(&store, "/repo/el-9/RPM-GPG-KEY-millrace").await.text(),
        "key default"
    );
}

#[tokio::test]
async fn whoever_began_to_read_before_a_release_reads_on_in_the_same_state() {
    let store = store().await;
    let pinned = get(&store, "/repo/el-9/x86_64/os/mirrorlist").await;
    let base = pinned
        .text()
        .trim_end()
        .trim_start_matches("http://line.example:8080")
        .to_owned();
    let repomd = get(&store, &format!("{base}repodata/repomd.xml")).await;
    assert_eq!(
        repomd.header("cache-control"),
        "max-age=31536000, immutable"
    );
    publish(
        &order(&store, "second", &[package(Variant::Second, "tally")]).await,
        &NamedSeal,
        &store,
        NOW,
    )
    .await
    .unwrap();
    let signature = get(&store, &format!("{base}repodata/repomd.xml.asc"))
        .await
        .text();
    assert!(
        signature.ends_with(&Digest::of(&repomd.body).to_string()),
        "{signature}"
    );
    let now = get(&store, "/repo/el-9/x86_64/os/repodata/repomd.xml").await;
    assert_eq!(now.header("cache-control"), "max-age=60, must-revalidate");
    assert_ne!(now.body, repomd.body);
    assert_ne!(
        get(&store, "/repo/el-9/x86_64/os/mirrorlist").await.text(),
        pinned.text()
    );
    let new = "Packages/t/tally-1.0~rc1-2.el9.x86_64.rpm";
    assert_eq!(
        get(&store, &format!("/repo/el-9/x86_64/os/{new}"))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        get(&store, &format!("{base}{new}")).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_in_words() {
    let store = store().await;
    for path in [
        "el-9/x86_64/os/repodata/nothing.xml",
        "el-9/x86_64/os/Packages/u/tally-1.0~rc1-1.el9.x86_64.rpm",
        "el-9/x86_64/os/tally-1.0~rc1-1.el9.x86_64.rpm",
        "el-9/x86_64/os/",
        "el-9/s390x/os/mirrorlist",
        "el-8/x86_64/os/repodata/repomd.xml",
        "el-9/../el-9/x86_64/os/x",
        "el-9/gen/x/x86_64/os/repodata/repomd.xml",
    ] {
        let answer = get(&store, &format!("/repo/{path}")).await;
        let (platform, rest) = path.split_once('/').unwrap();
        assert_eq!(
            (answer.status, answer.text()),
            (
                StatusCode::NOT_FOUND,
                format!("platform {platform} has no {rest}\n")
            )
        );
    }
}

#[tokio::test]
async fn a_generation_that_no_releaser_made_is_not_served() {
    let store = store().await;
    let secret = store.put(b"not for everybody".to_vec()).await.unwrap();
    let mut forged = released(&store).await;
    let repository = forged.repositories.get_mut("source").unwrap();
    repository.packages.values_mut().for_each(|entry| {
        entry.file = crate::FileRef {
            digest: secret,
            size: 17,
        }
    });
    let digest = store
        .put(serde_json::to_vec(&forged).unwrap())
        .await
        .unwrap();
    let answer = get(
        &store,
        &format!(
            "/repo/el-9/gen/{}/source/Packages/t/tally-1.0~rc1-1.el9.src.rpm",
            digest.hex()
        ),
    )
    .await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
