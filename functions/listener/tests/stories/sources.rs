//! Sources by digest, from the line's own store and from others.

use crate::forge::{Line, PLAIN, Repo, SPEC, serve};
use axum::Router;
use axum::extract::Path as Segments;
use axum::http::StatusCode;
use axum::routing::get;
use millrace_core::Digest;
use millrace_core::sources::SourceFile;
use millrace_listener::{FetchError, fetch, offer_source};
use sha2::{Digest as _, Sha512};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const MAIN: &str = "refs/heads/main";
const TARBALL: &[u8] = b"the sources of zlib";

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sources() -> String {
    format!("# comment\nSHA512 (zlib-1.tar.xz) = {}\n", sha512(TARBALL))
}

fn source(path: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), digest: Digest::of(TARBALL), size: TARBALL.len() as u64 }
}

/// A lookaside store that has these bytes for `zlib` under every name, and counts who asks.
async fn lookaside(code: StatusCode, bytes: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let answer = move |Segments((package, _, _)): Segments<(String, String, String)>| async move {
        counted.fetch_add(1, Ordering::SeqCst);
        if package == "zlib" { (code, bytes) } else { (StatusCode::NOT_FOUND, &b""[..]) }
    };
    let address = serve(Router::new().route("/{package}/{digest}/{name}", get(answer))).await;
    (format!("{address}/{{package}}/{{digest}}/{{name}}"), asked)
}

#[tokio::test]
async fn sources_come_from_a_lookaside_store_once_and_lie_beside_the_spec() {
    let line = Line::new().await;
    let (url, asked) = lookaside(StatusCode::OK, TARBALL).await;
    let fetcher = line.fetcher(&[&url]);
    let repo = Repo::new();
    let text = sources();
    let commit = repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]);
    let push = line.fetched(&line.announced(&repo, MAIN, &commit).await, &fetcher).await;
    assert_eq!(push.sources, [source("zlib-1.tar.xz")]);
    assert_eq!(line.blob(&push.sources[0].digest).await, TARBALL);

    let metadata = format!("{} SOURCES/zlib-1.tar.xz\n", Digest::of(TARBALL).hex());
    let files =
        [("SPECS/zlib.spec", PLAIN, &b""[..]), ("sources", PLAIN, text.as_bytes()), (".zlib.metadata", PLAIN, metadata.as_bytes())];
    let commit = repo.commit("main", &files);
    let push = line.fetched(&line.announced(&repo, MAIN, &commit).await, &fetcher).await;
    assert_eq!(push.sources, [source("SPECS/zlib-1.tar.xz"), source("SOURCES/zlib-1.tar.xz")]);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "what the line holds is not fetched again");
}

#[tokio::test]
async fn a_source_that_was_offered_is_found_by_both_digests() {
    let line = Line::new().await;
    let file = line.scratch.path().join("zlib-1.tar.xz");
    std::fs::write(&file, TARBALL).unwrap();
    let offered = offer_source(&file, &line.store, &line.store).await.unwrap();
    assert_eq!((offered.sha256, offered.sha512, offered.size), (Digest::of(TARBALL), sha512(TARBALL), TARBALL.len() as u64));
    offer_source(&file, &line.store, &line.store).await.unwrap();
    std::fs::remove_file(&file).unwrap();

    let repo = Repo::new();
    let metadata = format!("{} SOURCES/a.tar\n{} SOURCES/b.tar\n", Digest::of(TARBALL).hex(), sha512(TARBALL));
    let commit = repo.commit("main", &[SPEC, (".zlib.metadata", PLAIN, metadata.as_bytes())]);
    let push = line.fetched(&line.announced(&repo, MAIN, &commit).await, &line.fetcher(&[])).await;
    assert_eq!(push.sources, [source("SOURCES/a.tar"), source("SOURCES/b.tar")]);
}

#[tokio::test]
async fn a_wrong_digest_is_refused_with_both_digests_and_the_address() {
    let line = Line::new().await;
    let (url, _) = lookaside(StatusCode::OK, b"something else").await;
    let text = sources();
    let reason = line.refusal_of(&[SPEC, ("sources", PLAIN, text.as_bytes())], &line.fetcher(&[&url])).await;
    let (expected, found) = (sha512(TARBALL), sha512(b"something else"));
    let at = url.replace("{package}", "zlib").replace("{digest}", &expected).replace("{name}", "zlib-1.tar.xz");
    assert_eq!(
        reason,
        format!("{at} is not the `zlib-1.tar.xz` that the package names: expected sha512 {expected}, found {found}")
    );
}

#[tokio::test]
async fn a_source_that_nobody_has_is_refused_with_where_the_line_looked() {
    let line = Line::new().await;
    let (url, _) = lookaside(StatusCode::NOT_FOUND, b"").await;
    let text = sources();
    let nowhere = line.scratch.path().parent().unwrap().join("nowhere");
    let file = format!("file://{}/{{name}}", nowhere.display());
    let reason = line.refusal_of(&[SPEC, ("sources", PLAIN, text.as_bytes())], &line.fetcher(&[&url, &file])).await;
    let digest = sha512(TARBALL);
    let at = url.replace("{package}", "zlib").replace("{digest}", &digest).replace("{name}", "zlib-1.tar.xz");
    let words = format!(
        "no lookaside store has `zlib-1.tar.xz` (sha512 {digest}), looked at {at}, file://{}/zlib-1.tar.xz; \
        put it there with `millrace package upload zlib-1.tar.xz`",
        nowhere.display()
    );
    assert_eq!(reason, words);
}

#[tokio::test]
async fn the_next_store_is_asked_where_one_has_nothing_something_else_or_trouble() {
    let line = Line::new().await;
    let (none, _) = lookaside(StatusCode::FORBIDDEN, b"").await;
    let (other, _) = lookaside(StatusCode::OK, b"please log in").await;
    let (trouble, _) = lookaside(StatusCode::BAD_GATEWAY, b"").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zlib-1.tar.xz"), TARBALL).unwrap();
    let file = format!("file://{}/{{name}}", folder.path().display());
    let text = sources();
    let repo = Repo::new();
    let commit = repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]);
    let announced = line.announced(&repo, MAIN, &commit).await;

    let without = line.fetcher(&[&none, &other, &trouble]);
    let error = fetch(&announced, &without, &line.store, &line.store).await.unwrap_err();
    assert!(matches!(&error, FetchError::Lookaside { problem, .. } if problem == "HTTP status 502"), "{error}");
    let push = line.fetched(&announced, &line.fetcher(&[&none, &other, &trouble, &file])).await;
    assert_eq!(push.sources, [source("zlib-1.tar.xz")]);
}

#[tokio::test]
async fn a_store_that_nobody_keeps_is_passing_trouble() {
    let line = Line::new().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = sources();
    let repo = Repo::new();
    let commit = repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]);
    let announced = line.announced(&repo, MAIN, &commit).await;
    let fetcher = line.fetcher(&[&format!("http://{free}/{{digest}}")]);
    let error = fetch(&announced, &fetcher, &line.store, &line.store).await.unwrap_err();
    assert!(matches!(&error, FetchError::Lookaside { .. }), "{error}");
}

#[tokio::test]
async fn a_source_that_is_too_large_is_refused() {
    let line = Line::new().await;
    let (url, _) = lookaside(StatusCode::OK, TARBALL).await;
    let mut fetcher = line.fetcher(&[&url]);
    fetcher.bounds.source_bytes = TARBALL.len() as u64 - 1;
    let text = sources();
    let reason = line.refusal_of(&[SPEC, ("sources", PLAIN, text.as_bytes())], &fetcher).await;
    assert!(reason.ends_with("has more than 18 bytes, which is the most that the line takes of one source"), "{reason}");
}

#[tokio::test]
async fn a_source_line_that_says_nothing_climbs_or_stands_in_the_way_is_refused() {
    let digest = sha512(TARBALL);
    let cases = [
        (
            "d41d8cd98f00b204e9800998ecf8427e  zlib-1.tar.xz".to_owned(),
            "sources, line 1: expected `SHA512 (name) = digest`, found `d41d8cd98f00b204e9800998ecf8427e  zlib-1.tar.xz`"
                .to_owned(),
        ),
        (format!("SHA512 (../zlib-1.tar.xz) = {digest}"), "sources, line 1: `../zlib-1.tar.xz` is no plain file name".to_owned()),
        (
            format!("SHA512 (zlib.spec) = {digest}"),
            "`zlib.spec` is in the way of another file of the repository or its sources: keep one of the two".to_owned(),
        ),
        (
            format!("SHA1 (old.tar) = {}", "a".repeat(40)),
            "`old.tar` is named by its SHA-1 digest, which the line does not take: name it by SHA-512 (`sha512sum`)".to_owned(),
        ),
    ];
    for (text, words) in cases {
        let line = Line::new().await;
        assert_eq!(line.refusal_of(&[SPEC, ("sources", PLAIN, text.as_bytes())], &line.fetcher(&[])).await, words);
    }
}

#[tokio::test]
async fn a_package_that_takes_too_many_words_is_refused() {
    let line = Line::new().await;
    let file = line.scratch.path().join("zlib-1.tar.xz");
    std::fs::write(&file, TARBALL).unwrap();
    offer_source(&file, &line.store, &line.store).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    let digest = sha512(TARBALL);
    let text: String = (0..850).map(|number| format!("SHA512 ({number}-{}) = {digest}\n", "long".repeat(36))).collect();
    let reason = line.refusal_of(&[SPEC, ("sources", PLAIN, text.as_bytes())], &line.fetcher(&[])).await;
    assert!(reason.starts_with("sources and millrace.toml together take 2"), "{reason}");
}
