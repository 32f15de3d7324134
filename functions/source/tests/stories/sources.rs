//! Sources by digest, from the line's own store and from others.

use crate::forge::{Line, PLAIN, Repo, SPEC, serve};
use axum::Router;
use axum::extract::Path as Segments;
use axum::http::StatusCode;
use axum::routing::get;
use millrace_core::Digest;
use millrace_core::sources::SourceFile;
use millrace_source::{DownloadError, FetchError, fetch, upload_source};
use millrace_store::records::put;
use millrace_store::{BlobStore, Expect, Table};
use serde_json::json;
use sha2::{Digest as _, Sha512};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const MAIN: &str = "refs/heads/main";
const TARBALL: &[u8] = b"the sources of zlib";

/// Of [`TARBALL`].
const SHA1: &str = "0bd2b6bd935d46fd953cfeaa16eaabcc32ba9a74";

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn sources() -> String {
    format!("# comment\nSHA512 (zlib-1.tar.xz) = {}\n", sha512(TARBALL))
}

fn source(path: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        digest: Digest::of(TARBALL),
        size: TARBALL.len() as u64,
    }
}

/// A lookaside store that has these bytes for `zlib` under every name, and counts who asks.
async fn lookaside(code: StatusCode, bytes: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let answer = move |Segments((package, _, _)): Segments<(String, String, String)>| async move {
        counted.fetch_add(1, Ordering::SeqCst);
        if package == "zlib" {
            (code, bytes)
        } else {
            (StatusCode::NOT_FOUND, &b""[..])
        }
    };
    let address = serve(Router::new().route("/{package}/{digest}/{name}", get(answer))).await;
    (format!("{address}/{{package}}/{{digest}}/{{name}}"), asked)
}

#[tokio::test]
async fn sources_come_from_lookaside_once_and_lie_beside_the_spec() {
    let line = Line::new();
    let (url, asked) = lookaside(StatusCode::OK, TARBALL).await;
    let fetcher = line.fetcher(&[&url]);
    let repo = Repo::new();
    let text = sources();
    let commit = repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]);
    let push = line
        .fetched(&line.announced(&repo, MAIN, &commit).await, &fetcher)
        .await;
    assert_eq!(push.sources, [source("zlib-1.tar.xz")]);
    assert_eq!(line.blob(&push.sources[0].digest).await, TARBALL);

    let metadata = format!("{} SOURCES/zlib-1.tar.xz\n", Digest::of(TARBALL).hex());
    let files = [
        ("SPECS/zlib.spec", PLAIN, &b""[..]),
        ("sources", PLAIN, text.as_bytes()),
        (".zlib.metadata", PLAIN, metadata.as_bytes()),
    ];
    let commit = repo.commit("main", &files);
    let push = line
        .fetched(&line.announced(&repo, MAIN, &commit).await, &fetcher)
        .await;
    assert_eq!(
        push.sources,
        [
            source("SPECS/zlib-1.tar.xz"),
            source("SOURCES/zlib-1.tar.xz")
        ]
    );
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "what the line holds is not fetched again"
    );
}

#[tokio::test]
async fn a_source_that_was_offered_is_found_by_each_of_its_digests() {
    let line = Line::new();
    let file = line.scratch.path().join("zlib-1.tar.xz");
    std::fs::write(&file, TARBALL).unwrap();
    let offered = upload_source(&file, &line.store, &line.store)
        .await
        .unwrap();
    assert_eq!(
        (offered.sha256, offered.sha512, offered.size),
        (Digest::of(TARBALL), sha512(TARBALL), TARBALL.len() as u64)
    );
    upload_source(&file, &line.store, &line.store)
        .await
        .unwrap();
    std::fs::remove_file(&file).unwrap();

    let repo = Repo::new();
    let metadata = format!(
        "{} SOURCES/a.tar\n{} SOURCES/b.tar\n{SHA1} SOURCES/c.tar\n",
        Digest::of(TARBALL).hex(),
        sha512(TARBALL)
    );
    let commit = repo.commit(
        "main",
        &[SPEC, (".zlib.metadata", PLAIN, metadata.as_bytes())],
    );
    let push = line
        .fetched(
            &line.announced(&repo, MAIN, &commit).await,
            &line.fetcher(&[]),
        )
        .await;
    assert_eq!(
        push.sources,
        [
            source("SOURCES/a.tar"),
            source("SOURCES/b.tar"),
            source("SOURCES/c.tar")
        ]
    );
}

#[tokio::test]
async fn a_centos_package_with_nothing_but_sha1_is_fetched() {
    let line = Line::new();
    let (url, asked) = lookaside(StatusCode::OK, TARBALL).await;
    let metadata = format!("{SHA1} SOURCES/zlib-1.tar.xz\n");
    let repo = Repo::new();
    let files = [
        ("SPECS/zlib.spec", PLAIN, &b"Name: zlib\n"[..]),
        (".zlib.metadata", PLAIN, metadata.as_bytes()),
    ];
    let announced = line
        .announced(&repo, MAIN, &repo.commit("main", &files))
        .await;
    assert_eq!(
        line.fetched(&announced, &line.fetcher(&[&url]))
            .await
            .sources,
        [source("SOURCES/zlib-1.tar.xz")]
    );

    let text = format!("SHA1 (zlib-1.tar.xz) = {SHA1}\n");
    let announced = line
        .announced(
            &repo,
            MAIN,
            &repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]),
        )
        .await;
    assert_eq!(
        line.fetched(&announced, &line.fetcher(&[&url]))
            .await
            .sources,
        [source("zlib-1.tar.xz")]
    );
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "what the line holds is not fetched again"
    );
}

#[tokio::test]
async fn a_wrong_sha1_is_refused_with_both_digests() {
    let line = Line::new();
    let (url, _) = lookaside(StatusCode::OK, b"something else").await;
    let metadata = format!("{SHA1} SOURCES/zlib-1.tar.xz\n");
    let reason = line
        .refusal_of(
            &[SPEC, (".zlib.metadata", PLAIN, metadata.as_bytes())],
            &line.fetcher(&[&url]),
        )
        .await;
    let found = "637828c03aae38af639cc721200f2584864e8797";
    assert!(
        reason.ends_with(&format!(
            "is not the `zlib-1.tar.xz` that the package names: expected sha1 {SHA1}, found {found}"
        )),
        "{reason}"
    );
}

/// The beginning of one of the two documents with which SHA-1 was broken (Stevens and others, "The first collision for full
/// SHA-1", 2017): both have the same digest.
fn shattered(which: usize) -> Vec<u8> {
    const SAME: &str = "255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033203020522f54797065203420\
    3020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f7253706163652037203020522f4c656e677468203820302052\
    2f42697473506572436f6d706f6e656e7420383e3e0a73747265616d0affd8fffe00245348412d3120697320646561642121212121852fec09233975\
    9c39b1a1c63c4c97e1fffe01";
    const OTHER: [&str; 2] = [
        "7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3dc38e96ac22fe7bd728f0e45\
    bce046d23c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500eb4ddc0decc1a864790c782c76215660dd309791d06bd0af\
    3f98cda4bc4629b1",
        "7f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb76038e972722fe7ad728f0e49\
    04e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514e74ddc0f2cc1a874cd0c78305a21566461309789606bd0bf\
    3f98cda8044629a1",
    ];
    let digits = [SAME, OTHER[which]].concat();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

const SHATTERED_SHA1: &str = "f92d74e3874587aaf443d1db961d4e26dde13e9c";

#[tokio::test]
async fn a_file_made_to_collide_in_sha1_is_refused_and_unnamed() {
    let line = Line::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("zlib-1.tar.xz");
    let metadata = format!("{SHATTERED_SHA1} SOURCES/zlib-1.tar.xz\n");
    let files = [SPEC, (".zlib.metadata", PLAIN, metadata.as_bytes())];
    std::fs::write(&file, shattered(0)).unwrap();
    let url = format!("file://{}/{{name}}", folder.path().display());
    let words = format!(
        "file://{} is made so that another file has the same SHA-1 digest: \
        name `zlib-1.tar.xz` by SHA-512 (`sha512sum`) once you know that it is the right one",
        file.display()
    );
    assert_eq!(line.refusal_of(&files, &line.fetcher(&[&url])).await, words);

    let line = Line::new();
    upload_source(&file, &line.store, &line.store)
        .await
        .unwrap();
    let reason = line.refusal_of(&files, &line.fetcher(&[])).await;
    assert!(
        reason.starts_with(&format!(
            "no lookaside store has `zlib-1.tar.xz` (sha1 {SHATTERED_SHA1})"
        )),
        "{reason}"
    );

    // By SHA-512 it is what its author has seen, no matter who made it.
    let text = format!("SHA512 (zlib-1.tar.xz) = {}\n", sha512(&shattered(0)));
    let line = Line::new();
    let repo = Repo::new();
    let announced = line
        .announced(
            &repo,
            MAIN,
            &repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]),
        )
        .await;
    assert_eq!(
        line.fetched(&announced, &line.fetcher(&[&url]))
            .await
            .sources[0]
            .digest,
        Digest::of(&shattered(0))
    );
}

#[tokio::test]
async fn a_name_by_sha1_stays_with_the_file_that_was_found_first() {
    let line = Line::new();
    let (url, asked) = lookaside(StatusCode::OK, TARBALL).await;
    let other = line.store.put(b"another file".to_vec()).await.unwrap();
    let key = format!("lookaside/sha1/{SHA1}");
    let held = json!({"digest": other, "size": 12});
    put(
        &line.store,
        Table::Setting,
        &key,
        Expect::Absent,
        &held,
        Vec::new(),
    )
    .await
    .unwrap();
    let metadata = format!("{SHA1} SOURCES/zlib-1.tar.xz\n");
    let repo = Repo::new();
    let files = [SPEC, (".zlib.metadata", PLAIN, metadata.as_bytes())];
    let file = line.scratch.path().join("zlib-1.tar.xz");
    std::fs::write(&file, TARBALL).unwrap();
    upload_source(&file, &line.store, &line.store)
        .await
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let announced = line
        .announced(&repo, MAIN, &repo.commit("main", &files))
        .await;
    assert_eq!(
        line.fetched(&announced, &line.fetcher(&[&url]))
            .await
            .sources[0]
            .digest,
        other
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_file_under_a_known_sha1_is_refused() {
    let line = Line::new();
    let (url, _) = lookaside(StatusCode::OK, TARBALL).await;
    let gone = Digest::of(b"another file");
    let key = format!("lookaside/sha1/{SHA1}");
    put(
        &line.store,
        Table::Setting,
        &key,
        Expect::Absent,
        &json!({"digest": gone, "size": 12}),
        Vec::new(),
    )
    .await
    .unwrap();
    let metadata = format!("{SHA1} SOURCES/zlib-1.tar.xz\n");
    let reason = line
        .refusal_of(
            &[SPEC, (".zlib.metadata", PLAIN, metadata.as_bytes())],
            &line.fetcher(&[&url]),
        )
        .await;
    let found = Digest::of(TARBALL);
    let words = format!(
        "`zlib-1.tar.xz` is named by SHA-1 {SHA1}, under which the line knows {gone} and found {found}: name it by SHA-512 (`sha512sum`)"
    );
    assert_eq!(reason, words);
}

#[tokio::test]
async fn sources_that_are_too_much_together_are_refused() {
    let line = Line::new();
    let (url, _) = lookaside(StatusCode::OK, TARBALL).await;
    let mut fetcher = line.fetcher(&[&url]);
    let digest = sha512(TARBALL);
    let text = format!("SHA512 (a.tar) = {digest}\nSHA512 (b.tar) = {digest}\n");
    let files = [SPEC, ("sources", PLAIN, text.as_bytes())];
    fetcher.bounds.sources_bytes = 2 * TARBALL.len() as u64 - 1;
    let words = "the package's sources have more than 37 bytes together, which is the most that the line takes of one push";
    assert_eq!(line.refusal_of(&files, &fetcher).await, words);

    let line = Line::new();
    fetcher.bounds.sources_bytes += 1;
    let repo = Repo::new();
    let announced = line
        .announced(&repo, MAIN, &repo.commit("main", &files))
        .await;
    assert_eq!(line.fetched(&announced, &fetcher).await.sources.len(), 2);
}

#[tokio::test]
async fn a_silent_store_is_waited_for_until_the_time_is_over() {
    let line = Line::new();
    let silent = serve(Router::new().fallback(std::future::pending::<StatusCode>)).await;
    let mut fetcher = line.fetcher(&[&format!("{silent}/{{digest}}")]);
    fetcher.bounds.time = Duration::from_millis(300);
    let text = sources();
    let repo = Repo::new();
    let announced = line
        .announced(
            &repo,
            MAIN,
            &repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]),
        )
        .await;
    let began = Instant::now();
    let error = fetch(&announced, &fetcher, &line.store, &line.store)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Slow { .. }), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "that was the minute in which a silent server is given up"
    );
}

#[tokio::test]
async fn a_wrong_digest_is_refused_with_both_digests_and_the_address() {
    let line = Line::new();
    let (url, _) = lookaside(StatusCode::OK, b"something else").await;
    let text = sources();
    let reason = line
        .refusal_of(
            &[SPEC, ("sources", PLAIN, text.as_bytes())],
            &line.fetcher(&[&url]),
        )
        .await;
    let (expected, found) = (sha512(TARBALL), sha512(b"something else"));
    let at = url
        .replace("{package}", "zlib")
        .replace("{digest}", &expected)
        .replace("{name}", "zlib-1.tar.xz");
    assert_eq!(
        reason,
        format!(
            "{at} is not the `zlib-1.tar.xz` that the package names: expected sha512 {expected}, found {found}"
        )
    );
}

#[tokio::test]
async fn a_source_that_nobody_has_is_refused_with_where_we_looked() {
    let line = Line::new();
    let (url, _) = lookaside(StatusCode::NOT_FOUND, b"").await;
    let text = sources();
    let nowhere = line.scratch.path().parent().unwrap().join("nowhere");
    let file = format!("file://{}/{{name}}", nowhere.display());
    let reason = line
        .refusal_of(
            &[SPEC, ("sources", PLAIN, text.as_bytes())],
            &line.fetcher(&[&url, &file]),
        )
        .await;
    let digest = sha512(TARBALL);
    let at = url
        .replace("{package}", "zlib")
        .replace("{digest}", &digest)
        .replace("{name}", "zlib-1.tar.xz");
    let words = format!(
        "no lookaside store has `zlib-1.tar.xz` (sha512 {digest}), looked at {at}, file://{}/zlib-1.tar.xz; \
        put it there with `millrace package upload zlib-1.tar.xz`",
        nowhere.display()
    );
    assert_eq!(reason, words);
}

#[tokio::test]
async fn the_next_store_is_asked_if_one_fails_or_has_something_else() {
    let line = Line::new();
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
    let error = fetch(&announced, &without, &line.store, &line.store)
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            FetchError::Lookaside {
                source: DownloadError::Status(502),
                ..
            }
        ),
        "{error}"
    );
    let push = line
        .fetched(&announced, &line.fetcher(&[&none, &other, &trouble, &file]))
        .await;
    assert_eq!(push.sources, [source("zlib-1.tar.xz")]);
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_again_later() {
    let line = Line::new();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let text = sources();
    let repo = Repo::new();
    let commit = repo.commit("main", &[SPEC, ("sources", PLAIN, text.as_bytes())]);
    let announced = line.announced(&repo, MAIN, &commit).await;
    let fetcher = line.fetcher(&[&format!("http://{free}/{{digest}}")]);
    let error = fetch(&announced, &fetcher, &line.store, &line.store)
        .await
        .unwrap_err();
    assert!(matches!(&error, FetchError::Lookaside { .. }), "{error}");
}

#[tokio::test]
async fn a_source_that_is_too_large_is_refused() {
    let line = Line::new();
    let (url, _) = lookaside(StatusCode::OK, TARBALL).await;
    let mut fetcher = line.fetcher(&[&url]);
    fetcher.bounds.source_bytes = TARBALL.len() as u64 - 1;
    let text = sources();
    let reason = line
        .refusal_of(&[SPEC, ("sources", PLAIN, text.as_bytes())], &fetcher)
        .await;
    assert!(
        reason.ends_with(
            "has more than 18 bytes, which is the most that the line takes of one source"
        ),
        "{reason}"
    );
}

#[tokio::test]
async fn a_source_line_that_cannot_be_used_is_refused() {
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
            format!("SHA512 (tree.tar) = {digest}"),
            "sources, line 1: builds are given the commit's tree as `tree.tar`: give the source another name".to_owned(),
        ),
    ];
    for (text, words) in cases {
        let line = Line::new();
        assert_eq!(
            line.refusal_of(
                &[SPEC, ("sources", PLAIN, text.as_bytes())],
                &line.fetcher(&[])
            )
            .await,
            words
        );
    }
}

#[tokio::test]
async fn a_package_that_takes_too_many_words_is_refused() {
    let line = Line::new();
    let file = line.scratch.path().join("zlib-1.tar.xz");
    std::fs::write(&file, TARBALL).unwrap();
    upload_source(&file, &line.store, &line.store)
        .await
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let digest = sha512(TARBALL);
    let text: String = (0..850)
        .map(|number| format!("SHA512 ({number}-{}) = {digest}\n", "long".repeat(36)))
        .collect();
    let reason = line
        .refusal_of(
            &[SPEC, ("sources", PLAIN, text.as_bytes())],
            &line.fetcher(&[]),
        )
        .await;
    assert!(
        reason.starts_with("sources and millrace.toml together take 2"),
        "{reason}"
    );
}
