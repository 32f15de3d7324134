//! Stories of people and programs who look at the line.

#![allow(clippy::unwrap_used, dead_code)]

mod world;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures_util::StreamExt;
use millrace_core::build::{Build, Event};
use millrace_core::cause::{Cause, Kind};
use millrace_core::hold::{FailedCommand, Hold, Wants};
use millrace_core::platform::Platform;
use millrace_core::protocol::Holding;
use millrace_core::push::{PushRecord, PushState};
use millrace_core::queue::{Capacity, Reserved};
use millrace_core::task::{Blame, Failure, Machine, Outcome};
use millrace_core::{Arch, BuildId, LeaseNumber, Timestamp};
use millrace_store::holds::{begin_hold, change_hold};
use millrace_store::queue::{Seen, see};
use millrace_store::records::put;
use millrace_store::{Expect, Stored, Table};
use millrace_view::{BuildView, TaskKind};
use std::time::Duration;
use tower::ServiceExt;
use world::{NOW, World, announced, every_state, file, platform, told};

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

async fn ask(world: &World, method: Method, path: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "line.example:8620")
        .body(Body::empty())
        .unwrap();
    let (parts, body) = world.router().oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8_lossy(&to_bytes(body, usize::MAX).await.unwrap()).into_owned();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text,
    }
}

async fn get(world: &World, path: &str) -> String {
    let answer = ask(world, Method::GET, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer.text
}

async fn json(world: &World, path: &str) -> serde_json::Value {
    serde_json::from_str(&get(world, path).await).unwrap()
}

fn of(package: &str) -> Build {
    every_state()
        .into_iter()
        .find(|build| build.push.announced.package.as_str() == package)
        .unwrap()
}

#[tokio::test]
async fn a_build_in_every_state_has_a_page_that_says_so() {
    let world = World::busy().await;
    let mut words: Vec<&str> = Vec::new();
    for build in every_state() {
        let page = get(&world, &format!("/builds/{}", build.id)).await;
        assert!(
            page.contains(&format!(
                r#"<span class="state {0}">{0}</span></h1>"#,
                build.word()
            )),
            "{}",
            build.word()
        );
        assert_eq!(
            page.contains(r#"http-equiv="refresh""#),
            !build.is_ended(),
            "{}",
            build.word()
        );
        words.push(build.word());
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(
        words,
        [
            "cancelled",
            "excluded",
            "failed",
            "passed",
            "released",
            "releasing",
            "running",
            "signing"
        ]
    );
}

#[tokio::test]
async fn a_hostile_push_is_shown_as_text() {
    let world = World::busy().await;
    let nano = of("nano");
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
async fn a_push_that_was_fetched_is_shown_as_still_on_its_way() {
    let world = World::empty();
    for (age, state, words) in [
        (
            0,
            PushState::Fetching,
            "The commit and its sources are being fetched.",
        ),
        (
            1,
            PushState::Fetched,
            "The commit and its sources are here; its builds are being planned.",
        ),
    ] {
        let record = PushRecord {
            announced: announced("perl", age),
            state,
        };
        world.keep_push(&record).await;
        let page = get(&world, &format!("/pushes/{}", record.announced.id)).await;
        assert!(
            page.contains(words) && page.contains(r#"http-equiv="refresh""#),
            "{page}"
        );
    }
}

#[tokio::test]
async fn pages_of_the_list_have_everything_once() {
    let world = World::empty();
    for n in 0..120 {
        world
            .keep(&told("zlib", &format!("commit {n:03}."), 10 + n).build)
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
async fn the_api_gives_parts_that_come_to_the_whole() {
    let world = World::empty();
    for n in 0..7 {
        world.keep(&told("zlib", "a", 10 + n).build).await;
        world.keep(&told("pigz", "b", 30 + n).build).await;
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
async fn a_failed_build_says_why_and_who_must_act_and_where_to_look() {
    let world = World::busy().await;
    let nano = of("nano").id;
    let page = get(&world, &format!("/builds/{nano}")).await;
    let said = [
        "aria-label=\"What went wrong\"".to_owned(),
        "has no member ‘ws_rows’".to_owned(),
        "For the package's author to mend.".to_owned(),
        format!(
            "<strong>rpm@x86_64 failed</strong>, <a href=\"/builds/{nano}/tasks/rpm@x86_64/log?attempt=1\">its log</a>"
        ),
    ];
    for words in said {
        assert!(page.contains(&words), "{words}");
    }
    let page = get(&world, &format!("/builds/{}", of("rust").id)).await;
    for words in [
        "3 leases ended without a verdict",
        "passing trouble",
        "runner fell silent",
        "runner was restarted",
        "log?attempt=3",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let page = get(&world, &format!("/builds/{}", of("gzip").id)).await;
    assert!(
        page.contains("<strong>release was refused</strong>") && page.contains("raise its release")
    );
}

#[tokio::test]
async fn a_pipeline_is_a_table_of_steps_by_architectures() {
    let world = World::busy().await;
    let page = get(&world, &format!("/builds/{}", of("zlib").id)).await;
    let table = page
        .split("<table class=\"pipeline\">")
        .nth(1)
        .unwrap()
        .split("</table>")
        .next()
        .unwrap();
    let heads: Vec<&str> = table
        .split("scope=\"")
        .skip(1)
        .map(|cell| cell.split(['>', '<']).nth(1).unwrap())
        .collect();
    assert_eq!(
        heads,
        [
            "Step", "x86_64", "aarch64", "source", "rpm", "check", "sign", "release"
        ]
    );
    assert_eq!(
        table.matches("<td").count(),
        7,
        "three across all architectures, and twice two"
    );
    assert!(
        table.contains("1 min 11 s")
            && table.contains("on arm-1")
            && table.contains("since generation 42")
    );
}

#[tokio::test]
async fn a_build_that_failed_after_its_tasks_says_at_which_order() {
    let orders = |package: &str| {
        let pipeline = BuildView::of(&of(package), NOW).pipeline.into_iter();
        pipeline
            .filter(|task| task.kind != TaskKind::Task)
            .map(|task| task.state)
            .collect::<Vec<_>>()
    };
    assert_eq!(orders("bzip2"), ["failed", "dropped"]);
    assert_eq!(orders("gzip"), ["passed", "failed"]);
    assert_eq!(orders("nano"), ["dropped", "dropped"]);
    assert_eq!(orders("xz"), ["passed", "running"]);
    assert_eq!(orders("tzdata"), ["excluded", "excluded"]);
}

#[tokio::test]
async fn a_released_build_says_how_to_install_it() {
    let world = World::busy().await;
    let page = get(&world, &format!("/builds/{}", of("zlib").id)).await;
    assert!(page.contains("http://line.example:8620/repo/almalinux-9/almalinux-9.repo"));
    assert!(
        page.contains("sudo dnf install zlib zlib-devel<"),
        "debuginfo and sources are not for installing"
    );
}

#[tokio::test]
async fn a_file_is_downloaded_and_never_shown() {
    let world = World::busy().await;
    let zlib = of("zlib");
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
    let build = told("fonts", "a", 9)
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

#[tokio::test]
async fn a_long_log_is_shown_from_its_end_and_given_whole_as_text() {
    let world = World::busy().await;
    let pigz = of("pigz");
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
async fn a_log_comes_in_parts_where_an_answer_must_be_whole_and_each_names_the_next() {
    let world = World::busy().await;
    let pigz = of("pigz").id;
    world
        .keep_log(&format!("{pigz}/rpm@x86_64/1"), &[b"0123456789", b"abcdef"])
        .await;
    let mut path = "log.txt?follow=1".to_owned();
    let mut parts = Vec::new();
    for _ in 0..4 {
        let request = Request::get(format!("/builds/{pigz}/tasks/rpm@x86_64/{path}"))
            .body(Body::empty())
            .unwrap();
        let answer = world.router_of(Some(6)).oneshot(request).await.unwrap();
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
    let pigz = of("pigz").id;
    let (log, id) = (
        format!("/builds/{pigz}/tasks/rpm@x86_64/log.txt?follow=1&tail=4"),
        format!("{pigz}/rpm@x86_64/1"),
    );
    let mut answer = world
        .router()
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
async fn what_is_not_there_is_said_in_words() {
    let world = World::busy().await;
    let zlib = of("zlib").id;
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
            format!("/builds/{}/tasks/source/log", of("expat").id),
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
async fn records_that_cannot_be_read_are_left_out_of_lists() {
    let world = World::busy().await;
    let (nano, zstd) = (of("nano"), announced("zstd", 20));
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

#[tokio::test]
async fn a_package_has_its_latest_build_on_each_platform_however_often_another_one_builds_it() {
    let world = World::busy().await;
    let other = Platform {
        name: "el10".parse().unwrap(),
        ..platform()
    };
    put(
        &world.store,
        Table::Platform,
        "el10",
        Expect::Absent,
        &other,
        Vec::new(),
    )
    .await
    .unwrap();
    for minutes_ago in [3000, 2000] {
        let mut build = told("zlib", "On the other one", minutes_ago).build;
        build.id = BuildId::of_push(&build.push.announced.id, &other.name);
        build.platform = other.clone();
        world.keep(&build).await;
    }
    for minutes_ago in 100..130 {
        world
            .keep(&told("zlib", "On the first", minutes_ago).build)
            .await;
    }
    let latest = |package: &serde_json::Value| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        package["latest"]
            .as_array()
            .unwrap()
            .iter()
            .map(|build| (text(&build["platform"]), text(&build["commit"])))
            .collect()
    };
    let expected = [("almalinux-9", 12), ("el10", 2000)].map(|(name, minutes_ago)| {
        (
            name.to_owned(),
            announced("zlib", minutes_ago).commit.to_string(),
        )
    });
    assert_eq!(
        latest(&json(&world, "/api/v1/packages/zlib").await),
        expected
    );
    let packages = json(&world, "/api/v1/packages").await;
    let zlib = packages["packages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|package| package["name"] == "zlib")
        .unwrap();
    assert_eq!(latest(zlib), expected);
}

#[tokio::test]
async fn what_the_api_does_not_know_is_refused_with_what_there_is() {
    let world = World::busy().await;
    let zlib = of("zlib").id;
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

#[tokio::test]
async fn only_so_many_follow_logs_at_once_and_the_next_is_told() {
    let world = World::busy().await;
    let (router, pigz) = (world.router(), of("pigz").id);
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
async fn a_log_that_goes_on_for_ever_is_followed_for_an_hour_and_says_so() {
    let world = World::busy().await;
    let since = tokio::time::Instant::now();
    let text = get(
        &world,
        &format!(
            "/builds/{}/tasks/rpm@x86_64/log.txt?follow=1",
            of("pigz").id
        ),
    )
    .await;
    assert!(
        text.ends_with(
            "the end\n\n==> followed for an hour, and it goes on: ask again to see the rest\n"
        ),
        "{text}"
    );
    let waited = since.elapsed().as_secs();
    assert!((3600..3610).contains(&waited), "{waited} s");
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

#[tokio::test]
async fn a_package_has_its_pipeline_and_a_platform_no_password() {
    let world = World::busy().await;
    let page = get(&world, "/packages/zlib").await;
    assert!(
        page.contains("<table class=\"pipeline\">")
            && page.contains("Log of check@aarch64")
            && page.contains("48 s")
    );
    let page = get(&world, "/platforms/almalinux-9").await;
    assert!(page.contains("https://repo.example/9/") && !page.contains("hunter2"));
    assert!(!get(&world, "/api/v1/platforms").await.contains("hunter2"));
    assert!(
        get(&world, "/packages")
            .await
            .contains("/packages/sbsigntools")
    );
    assert!(
        get(&world, "/platforms")
            .await
            .contains("source → rpm → check")
    );
    assert!(
        get(&World::empty(), "/")
            .await
            .contains("Nothing was built yet.")
    );
}

#[tokio::test]
async fn a_failure_names_its_cause_and_links_to_the_line_and_what_was_done_again_says_for_whom() {
    let world = World::busy().await;
    let cause = Cause {
        kind: Kind::TestFailed,
        line: 812,
        text: "FAIL: <adds>".to_owned(),
    };
    let failure = Failure {
        cause: Some(cause),
        ..Failure::new(Blame::Package, "%check failed")
    };
    let again = told("wrong", "Break it", 3)
        .sourced()
        .take("rpm@x86_64", "intel-1")
        .report("rpm@x86_64", 1, Outcome::Failed(failure.clone()))
        .event(Event::Retry {
            task: Some("rpm@x86_64".parse().unwrap()),
            by: "erin <e>".parse().unwrap(),
            hold_s: None,
        });
    let twice = again
        .take("rpm@x86_64", "intel-1")
        .report("rpm@x86_64", 2, Outcome::Failed(failure))
        .build;
    world.keep(&twice).await;
    let page = get(&world, &format!("/builds/{}", twice.id)).await;
    let link = format!(
        r#"<a href="/builds/{}/tasks/rpm@x86_64/log?attempt=2#L812">line 812</a>"#,
        twice.id
    );
    assert!(
        page.contains("Probably <strong>a test failed</strong>") && page.contains(&link),
        "{page}"
    );
    assert!(
        page.contains("FAIL: &lt;adds&gt;")
            && page.contains("done again for <bdi>erin &lt;e&gt;</bdi>"),
        "{page}"
    );
    let task = &json(&world, &format!("/api/v1/builds/{}", twice.id)).await["pipeline"][1];
    assert_eq!(
        (&task["attempts"][0]["how"], &task["cause"]["kind"]),
        (&"failed".into(), &"test-failed".into()),
        "{task}"
    );
}

#[tokio::test]
async fn an_attempt_on_a_machine_of_another_architecture_says_so() {
    let world = World::busy().await;
    let machine = Machine {
        arch: Arch::Aarch64,
        emulates: vec![Arch::X86_64],
    };
    let build = told("far", "Far from home", 3)
        .sourced()
        .take_on("rpm@x86_64", "arm-1", machine)
        .build;
    world.keep(&build).await;
    let page = get(&world, &format!("/builds/{}", build.id)).await;
    assert!(page.contains("on arm-1 (emulated on aarch64)"), "{page}");
    assert_eq!(
        page.matches("emulated").count(),
        1,
        "nobody else emulates anything: {page}"
    );
    let task = &json(&world, &format!("/api/v1/builds/{}", build.id)).await["pipeline"][1];
    assert_eq!(task["attempts"][0]["emulated_on"], "aarch64", "{task}");
}

#[tokio::test]
async fn a_sandbox_that_is_held_is_shown_with_the_command_that_gets_into_it_until_its_time_is_over()
{
    let world = World::busy().await;
    let failure = Failure::new(Blame::Package, "%build failed");
    let mut build = told("broken", "Break it", 3)
        .sourced()
        .take("rpm@x86_64", "intel-1")
        .report("rpm@x86_64", 1, Outcome::Failed(failure))
        .build;
    build.push.announced.wish.hold_s = Some(1800);
    world.keep(&build).await;
    let holding = Holding {
        build: build.id.clone(),
        task: "rpm@x86_64".parse().unwrap(),
        lease: LeaseNumber(1),
    };
    let failed = FailedCommand {
        line: "rpmbuild".to_owned(),
        cwd: "/".to_owned(),
        ended: "ended with status 1".to_owned(),
    };
    let mut hold = Hold::new(
        holding,
        "intel-1".parse().unwrap(),
        Timestamp(NOW.0 - 60_000),
        1800,
        failed,
    );
    hold.let_in(
        &"dana <d>".parse().unwrap(),
        Wants::Command {
            argv: vec!["ls".to_owned()],
        },
        false,
        NOW,
    )
    .unwrap();
    begin_hold(&world.store, &hold).await.unwrap();
    let command = format!("millrace shell {} rpm@x86_64", build.id);
    for path in [
        format!("/builds/{}", build.id),
        format!("/builds/{}/tasks/rpm@x86_64/log", build.id),
    ] {
        let page = get(&world, &path).await;
        assert!(
            page.contains(&format!("<code>{command}</code> gives a terminal in it")),
            "{page}"
        );
        assert!(
            page.contains("<bdi>dana &lt;d&gt;</bdi> is in it now"),
            "{page}"
        );
    }
    let task = &json(&world, &format!("/api/v1/builds/{}", build.id)).await["pipeline"][1];
    assert_eq!(task["held"]["command"], command.as_str(), "{task}");
    change_hold(&world.store, &hold.holding, |hold| hold.until = NOW)
        .await
        .unwrap();
    assert!(
        !get(&world, &format!("/builds/{}", build.id))
            .await
            .contains(&command)
    );
}

#[tokio::test]
async fn a_task_that_says_nothing_is_shown_as_stalled_and_as_one_that_runs() {
    let world = World::busy().await;
    let (task, lease) = ("source".parse().unwrap(), LeaseNumber(1));
    let since = Some(Timestamp(NOW.0 - 50_000));
    let build = told("quiet", "Sleep", 3)
        .take("source", "intel-1")
        .event(Event::Silent { task, lease, since })
        .build;
    world.keep(&build).await;
    let page = get(&world, &format!("/builds/{}", build.id)).await;
    assert!(
        page.contains("Working on source")
            && page.contains(r#"<span class="state stalled">stalled</span>"#),
        "{page}"
    );
    assert!(page.contains("nothing printed since"), "{page}");
}

#[tokio::test]
async fn the_queue_says_what_waits_for_whom_and_which_runners_there_are() {
    let world = World::empty();
    assert!(
        get(&world, "/queue")
            .await
            .contains("No task waits for a runner.")
    );
    let build = told("zlib", "Update", 3).build;
    world.keep(&build).await;
    let page = get(&world, "/queue").await;
    assert!(
        page.contains("no runner is there") && page.contains("No runner has asked for work yet."),
        "{page}"
    );
    let capacity = Capacity {
        memory_bytes: 8 << 30,
        disk_bytes: 90 << 30,
        features: ["kvm".parse().unwrap()].into(),
    };
    let (name, reserved) = (
        "intel-1".parse().unwrap(),
        Reserved {
            own_arch: true,
            ..Reserved::default()
        },
    );
    see(
        &world.store,
        &Seen {
            name,
            arches: vec![Arch::X86_64],
            capacity,
            reserved,
            at: NOW,
        },
    )
    .await
    .unwrap();
    let page = get(&world, "/queue").await;
    assert!(
        page.contains("runner intel-1 is kept for its own architecture")
            && page.contains("has kvm"),
        "{page}"
    );
    let queue = json(&world, "/api/v1/queue").await;
    assert_eq!(
        (
            &queue["waiting"][0]["task"],
            &queue["waiting"][0]["project"]
        ),
        (&"source".into(), &"rpms".into()),
        "{queue}"
    );
    assert_eq!(queue["runners"][0]["state"], "waiting", "{queue}");
}
