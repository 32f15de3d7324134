//! Commits over HTTP, from git's own server.

use crate::forge::{Line, PLAIN, Repo, serve};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Uri, header};
use axum::response::Response;
use millrace_source::{FetchError, fetch};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;

const MAIN: &str = "refs/heads/main";

/// Serves the folder that a repository is in through `git http-backend`; answers the address and what fetchers asked for.
async fn serve_git(repo: &Repo) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let folder = repo.path.parent().unwrap().to_owned();
    let router = Router::new()
        .fallback(backend)
        .with_state((folder, asked.clone()));
    (format!("{}/zlib.git", serve(router).await), asked)
}

/// Common Gateway Interface (RFC 3875), as far as git needs it.
async fn backend(
    State((folder, asked)): State<(PathBuf, Arc<Mutex<Vec<String>>>)>,
    method: Method,
    uri: Uri,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> Response {
    asked
        .lock()
        .unwrap()
        .extend(String::from_utf8_lossy(&body).lines().map(str::to_owned));
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env(
            "CONTENT_TYPE",
            headers
                .get(header::CONTENT_TYPE)
                .map_or("", |kind| kind.to_str().unwrap()),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response
        .body(Body::from(output[end + 4..].to_owned()))
        .unwrap()
}

/// A repository with two commits, of which the first was pushed and the second came since.
fn pushed_over() -> (Repo, String) {
    let repo = Repo::new();
    repo.commit("main", &[("zlib.spec", PLAIN, b"Version: 0")]);
    let pushed = repo.commit("main", &[("zlib.spec", PLAIN, b"Version: 1")]);
    repo.commit("main", &[("zlib.spec", PLAIN, b"Version: 2")]);
    (repo, pushed)
}

#[tokio::test]
async fn only_the_commit_is_fetched_if_the_server_gives_ids() {
    let line = Line::new();
    let (repo, pushed) = pushed_over();
    repo.git
        .config()
        .unwrap()
        .set_bool("uploadpack.allowReachableSHA1InWant", true)
        .unwrap();
    let (url, asked) = serve_git(&repo).await;
    let announced = line.announced_from(&url, MAIN, &pushed).await;
    line.fetched(&announced, &line.fetcher(&[])).await;
    let asked = asked.lock().unwrap().join("\n");
    assert!(
        asked.contains(&format!("want {pushed}")) && asked.contains("deepen 1"),
        "{asked}"
    );
    assert!(
        asked.matches("want ").count() == asked.matches(&format!("want {pushed}")).count(),
        "{asked}"
    );
}

#[tokio::test]
async fn the_reference_is_fetched_if_the_server_gives_no_ids() {
    let line = Line::new();
    let (repo, pushed) = pushed_over();
    let (url, asked) = serve_git(&repo).await;
    let announced = line.announced_from(&url, MAIN, &pushed).await;
    let push = line.fetched(&announced, &line.fetcher(&[])).await;
    assert!(String::from_utf8_lossy(&line.blob(&push.tree).await).contains("Version: 1"));
    let tip = repo.git.find_reference(MAIN).unwrap().target().unwrap();
    assert!(
        asked
            .lock()
            .unwrap()
            .join("\n")
            .contains(&format!("want {tip}"))
    );
}

#[tokio::test]
async fn a_commit_that_is_gone_is_gone_over_http_too() {
    let (repo, _) = pushed_over();
    for allowed in [false, true] {
        repo.git
            .config()
            .unwrap()
            .set_bool("uploadpack.allowAnySHA1InWant", allowed)
            .unwrap();
        let (url, _) = serve_git(&repo).await;
        let line = Line::new();
        let gone = "3".repeat(40);
        let announced = line.announced_from(&url, MAIN, &gone).await;
        let reason = line.refused(&announced, &line.fetcher(&[])).await;
        assert!(
            reason.starts_with(&format!("commit {gone} is gone")),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_repository_that_wants_a_password_is_refused() {
    let line = Line::new();
    let deny = || async {
        (
            axum::http::StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"")],
        )
    };
    let url = format!("{}/zlib.git", serve(Router::new().fallback(deny)).await);
    let announced = line.announced_from(&url, MAIN, &"4".repeat(40)).await;
    let words = format!(
        "{url} cannot be read without a password: make it readable, or register the package with a URL that is"
    );
    assert_eq!(line.refused(&announced, &line.fetcher(&[])).await, words);
}

#[tokio::test]
async fn a_server_that_fails_is_asked_again_later() {
    let line = Line::new();
    let url = format!(
        "{}/zlib.git",
        serve(Router::new().fallback(async || axum::http::StatusCode::BAD_GATEWAY)).await
    );
    let announced = line.announced_from(&url, MAIN, &"5".repeat(40)).await;
    let error = fetch(&announced, &line.fetcher(&[]), &line.store, &line.store)
        .await
        .unwrap_err();
    assert!(matches!(&error, FetchError::Git { .. }), "{error}");
    assert!(error.to_string().contains("502"), "{error}");
}

#[tokio::test]
async fn a_repository_that_has_moved_is_fetched_where_it_is() {
    let line = Line::new();
    let (repo, pushed) = pushed_over();
    let (there, asked) = serve_git(&repo).await;
    let moved = move |uri: Uri| {
        let to = there.replace("/zlib.git", "") + &uri.to_string().replace("/old/", "/");
        async move {
            (
                axum::http::StatusCode::MOVED_PERMANENTLY,
                [(header::LOCATION, to)],
            )
        }
    };
    let url = format!(
        "{}/old/zlib.git",
        serve(Router::new().fallback(moved)).await
    );
    let announced = line.announced_from(&url, MAIN, &pushed).await;
    let push = line.fetched(&announced, &line.fetcher(&[])).await;
    assert!(String::from_utf8_lossy(&line.blob(&push.tree).await).contains("Version: 1"));
    assert!(!asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_page_that_is_no_repository_is_said_to_be_none() {
    let line = Line::new();
    let page = || async { axum::response::Html("<title>zlib</title>") };
    let url = format!("{}/zlib", serve(Router::new().fallback(page)).await);
    let announced = line.announced_from(&url, MAIN, &"6".repeat(40)).await;
    let error = fetch(&announced, &line.fetcher(&[]), &line.store, &line.store)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("answers with `text/html; charset=utf-8`"),
        "{error}"
    );
    assert!(
        error.to_string().contains("is a git repository there?"),
        "{error}"
    );
}

#[tokio::test]
async fn a_pack_that_breaks_off_is_asked_for_again_later() {
    let (repo, pushed) = pushed_over();
    for whole in [false, true] {
        let (there, _) = serve_git(&repo).await;
        let there = there.replace("/zlib.git", "");
        let line = Line::new();
        let broken = move |method: Method, uri: Uri, body: Bytes| {
            let there = there.clone();
            async move {
                let asked = tokio::task::spawn_blocking(move || ask(&there, &method, &uri, &body))
                    .await
                    .unwrap();
                let (kind, mut bytes) = asked;
                if kind.ends_with("-result") && !whole {
                    bytes.truncate(bytes.len() / 2);
                }
                ([(header::CONTENT_TYPE, kind)], bytes)
            }
        };
        let url = format!("{}/zlib.git", serve(Router::new().fallback(broken)).await);
        let announced = line.announced_from(&url, MAIN, &pushed).await;
        if whole {
            line.fetched(&announced, &line.fetcher(&[])).await;
        } else {
            let error = fetch(&announced, &line.fetcher(&[]), &line.store, &line.store)
                .await
                .unwrap_err();
            assert!(matches!(&error, FetchError::Git { .. }), "{error}");
        }
    }
}

/// Asks as a proxy does; answers the kind of the answer, and what is in it.
fn ask(there: &str, method: &Method, uri: &Uri, body: &Bytes) -> (String, Vec<u8>) {
    let url = format!("{there}{uri}");
    let mut answer = if method == Method::POST {
        ureq::post(url)
            .content_type("application/x-git-upload-pack-request")
            .send(&body[..])
            .unwrap()
    } else {
        ureq::get(url).call().unwrap()
    };
    let kind = answer.headers()[header::CONTENT_TYPE]
        .to_str()
        .unwrap()
        .to_owned();
    (kind, answer.body_mut().read_to_vec().unwrap())
}
