//! From a push to the bytes that a build starts from.

use crate::forge::{COMMITTED_S, LINK, Line, PLAIN, PROGRAM, Repo, SPEC, SUBMODULE, TREE};
use millrace_core::push::PushState;
use millrace_source::{FetchError, fetch, give_up};
use std::io::Read;
use std::time::Duration;

const MAIN: &str = "refs/heads/main";

/// Every entry of an archive: path, mode, owner, time, and content or target.
fn unpacked(archive: &[u8]) -> Vec<(String, u32, u64, u64, String)> {
    let mut archive = tar::Archive::new(archive);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let header = entry.header().clone();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        if let Some(target) = entry.link_name().unwrap() {
            content = format!("-> {}", target.display());
        }
        (
            path,
            header.mode().unwrap(),
            header.uid().unwrap() + header.gid().unwrap(),
            header.mtime().unwrap(),
            content,
        )
    };
    archive.entries().unwrap().map(read).collect()
}

#[tokio::test]
async fn a_push_is_fetched_and_kept_as_one_archive() {
    let line = Line::new();
    let repo = Repo::new();
    let long = format!("{}/{}.patch", "deep".repeat(30), "patch".repeat(20));
    let files = [
        ("zlib.spec", PLAIN, &b"Name: zlib\n"[..]),
        ("a/run.sh", PROGRAM, b"#!/bin/sh\n"),
        ("a-b", PLAIN, b"x"),
        ("a/link", LINK, b"../zlib.spec"),
        (&long, PLAIN, b"long"),
    ];
    let commit = repo.commit("main", &files);
    let announced = line.announced(&repo, MAIN, &commit).await;
    let push = line.fetched(&announced, &line.fetcher(&[])).await;

    let s = COMMITTED_S as u64;
    assert_eq!(
        (
            push.announced,
            push.committed_s,
            &push.subject[..],
            &push.spec[..],
            &push.config[..]
        ),
        (announced, s, "Update to 1.3.1", "zlib.spec", "")
    );
    assert_eq!(push.sources, []);
    let archive = line.blob(&push.tree).await;
    assert_eq!(archive.len() as u64, push.tree_bytes);
    let entry = |path: &str, mode, content: &str| (path.to_owned(), mode, 0, s, content.to_owned());
    let expected = [
        entry("a-b", 0o644, "x"),
        entry("a/link", 0o777, "-> ../zlib.spec"),
        entry("a/run.sh", 0o755, "#!/bin/sh\n"),
        entry(&long, 0o644, "long"),
        entry("zlib.spec", 0o644, "Name: zlib\n"),
    ];
    assert_eq!(unpacked(&archive), expected);
}

#[tokio::test]
async fn fetched_twice_it_is_planned_once_from_the_same_bytes() {
    let (line, other) = (Line::new(), Line::new());
    let repo = Repo::new();
    let commit = repo.commit("main", &[SPEC]);
    let announced = line.announced(&repo, MAIN, &commit).await;
    let push = line.fetched(&announced, &line.fetcher(&[])).await;
    fetch(&announced, &line.fetcher(&[]), &line.store, &line.store)
        .await
        .unwrap();
    assert_eq!(line.effects().await, []);

    let elsewhere = other.announced(&repo, MAIN, &commit).await;
    assert_eq!(
        other.fetched(&elsewhere, &other.fetcher(&[])).await.tree,
        push.tree
    );
    assert_eq!(std::fs::read_dir(line.scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn two_at_once_plan_once() {
    let line = Line::with(millrace_store::memory::MemoryStore::with_yields());
    let repo = Repo::new();
    let announced = line
        .announced(&repo, MAIN, &repo.commit("main", &[SPEC]))
        .await;
    let fetcher = line.fetcher(&[]);
    let one = || fetch(&announced, &fetcher, &line.store, &line.store);
    let (a, b) = tokio::join!(one(), one());
    a.and(b).unwrap();
    assert_eq!(line.effects().await.len(), 1);
}

#[tokio::test]
async fn a_commit_pushed_over_since_is_fetched_as_it_was_pushed() {
    let line = Line::new();
    let repo = Repo::new();
    let first = repo.commit("main", &[("zlib.spec", PLAIN, b"Version: 1")]);
    repo.commit("main", &[("zlib.spec", PLAIN, b"Version: 2")]);
    let announced = line.announced(&repo, MAIN, &first).await;
    let push = line.fetched(&announced, &line.fetcher(&[])).await;
    assert_eq!(unpacked(&line.blob(&push.tree).await)[0].4, "Version: 1");
}

#[tokio::test]
async fn an_annotated_tag_leads_to_its_commit() {
    let line = Line::new();
    let repo = Repo::new();
    let tag = repo.tag("v1", &repo.commit("main", &[SPEC]));
    let announced = line.announced(&repo, "refs/tags/v1", &tag).await;
    let push = line.fetched(&announced, &line.fetcher(&[])).await;
    assert_eq!(
        (push.announced.commit.as_str(), &push.subject[..]),
        (&tag[..], "Update to 1.3.1")
    );
}

#[tokio::test]
async fn a_commit_that_is_gone_is_refused() {
    let line = Line::new();
    let repo = Repo::new();
    repo.commit("main", &[SPEC]);
    for (reference, digit) in [(MAIN, "1"), ("refs/heads/never", "2")] {
        let commit = digit.repeat(40);
        let announced = line.announced(&repo, reference, &commit).await;
        let words = format!(
            "commit {commit} is gone: {reference} no longer leads to it; push again if it shall be built"
        );
        assert_eq!(line.refused(&announced, &line.fetcher(&[])).await, words);
    }
}

#[tokio::test]
async fn no_spec_and_two_specs_are_refused() {
    let line = Line::new();
    let words = "no spec file: put `zlib.spec` at the top of the repository or in SPECS/";
    // A link is no spec: what it leads to is another matter in every root.
    assert_eq!(
        line.refusal_of(
            &[("README", PLAIN, b""), ("zlib.spec", LINK, b"README")],
            &line.fetcher(&[])
        )
        .await,
        words
    );
    let line = Line::new();
    let words = "2 spec files (SPECS/zlib.spec, b.spec): keep one, or name it in millrace.toml as `spec = \"…\"`";
    assert_eq!(
        line.refusal_of(
            &[("SPECS/zlib.spec", PLAIN, b""), ("b.spec", PLAIN, b"")],
            &line.fetcher(&[])
        )
        .await,
        words
    );
}

#[tokio::test]
async fn millrace_toml_names_the_spec_and_goes_with_the_push() {
    let line = Line::new();
    let repo = Repo::new();
    let config = b"spec = \"rpm/zlib.spec\"\n";
    let commit = repo.commit(
        "main",
        &[
            ("rpm/zlib.spec", PLAIN, b""),
            SPEC,
            ("millrace.toml", PLAIN, config),
        ],
    );
    let announced = line.announced(&repo, MAIN, &commit).await;
    let push = line.fetched(&announced, &line.fetcher(&[])).await;
    assert_eq!(
        (push.spec.as_str(), push.config.as_bytes()),
        ("rpm/zlib.spec", &config[..])
    );
}

#[tokio::test]
async fn a_misspelt_millrace_toml_is_refused_with_the_place() {
    let line = Line::new();
    let reason = line
        .refusal_of(
            &[SPEC, ("millrace.toml", PLAIN, b"\nspce = \"zlib.spec\"\n")],
            &line.fetcher(&[]),
        )
        .await;
    assert!(
        reason.starts_with("millrace.toml: TOML parse error at line 2, column 1"),
        "{reason}"
    );
    assert!(
        reason.contains("unknown field `spce`, expected one of `spec`"),
        "{reason}"
    );
}

#[tokio::test]
async fn submodules_and_what_is_no_text_are_refused() {
    let line = Line::new();
    let words = "`lib/zlib` is a submodule; the line builds from one repository: put the files in it, or name them in `sources`";
    assert_eq!(
        line.refusal_of(&[SPEC, ("lib/zlib", SUBMODULE, b"")], &line.fetcher(&[]))
            .await,
        words
    );
    let line = Line::new();
    assert_eq!(
        line.refusal_of(&[SPEC, ("sources", PLAIN, b"\xff")], &line.fetcher(&[]))
            .await,
        "sources is no UTF-8 text"
    );
}

#[tokio::test]
async fn a_tree_and_a_history_that_are_too_large_are_refused() {
    let line = Line::new();
    let mut fetcher = line.fetcher(&[]);
    fetcher.bounds.tree_bytes = 1000;
    let large = noise(1001);
    let words = "the repository's tree has more than 1000 bytes: keep large files in a lookaside store and name them in `sources`";
    assert_eq!(
        line.refusal_of(&[SPEC, ("large", PLAIN, &large)], &fetcher)
            .await,
        words
    );

    let line = Line::new();
    fetcher.bounds.pack_bytes = 1000;
    let words = "the repository's history has more than 1000 bytes: keep large files in a lookaside store and name them in `sources`";
    assert_eq!(
        line.refusal_of(&[SPEC, ("large", PLAIN, &large)], &fetcher)
            .await,
        words
    );
}

#[tokio::test]
async fn a_tree_that_holds_itself_a_million_times_is_refused() {
    let line = Line::new();
    let repo = Repo::new();
    let mut tree = repo.tree(&[("file", PLAIN, b"x")]);
    for _ in 0..6 {
        let mut folder = repo.git.treebuilder(None).unwrap();
        for name in 0..10 {
            folder.insert(name.to_string(), tree, TREE).unwrap();
        }
        tree = folder.write().unwrap();
    }
    let announced = line
        .announced(&repo, MAIN, &repo.commit_tree("main", tree))
        .await;
    let words = "the repository's tree has more than 200000 files: keep large files in a lookaside store and name them in `sources`";
    assert_eq!(line.refused(&announced, &line.fetcher(&[])).await, words);
}

/// Bytes that no pack makes smaller, the same each time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

#[tokio::test]
async fn a_forge_that_is_away_is_tried_until_the_line_gives_up() {
    let line = Line::new();
    let repo = Repo::new();
    let announced = line
        .announced(&repo, MAIN, &repo.commit("main", &[SPEC]))
        .await;
    let away = repo.path.with_extension("away");
    std::fs::rename(&repo.path, &away).unwrap();
    let error = fetch(&announced, &line.fetcher(&[]), &line.store, &line.store)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Git { .. }), "{error}");
    assert_eq!(line.record(&announced).await.state, PushState::Fetching);

    give_up(&announced, "the forge is away", &line.store)
        .await
        .unwrap();
    let reason =
        "not fetched after 10 tries; push again when this is over: the forge is away".to_owned();
    assert_eq!(
        line.record(&announced).await.state,
        PushState::Refused { reason }
    );

    // A late repeat of the effect does not bring it back.
    std::fs::rename(&away, &repo.path).unwrap();
    fetch(&announced, &line.fetcher(&[]), &line.store, &line.store)
        .await
        .unwrap();
    assert_eq!(line.effects().await, []);
}

#[tokio::test]
async fn giving_up_leaves_a_push_that_was_fetched_as_it_is() {
    let line = Line::new();
    let repo = Repo::new();
    let announced = line
        .announced(&repo, MAIN, &repo.commit("main", &[SPEC]))
        .await;
    line.fetched(&announced, &line.fetcher(&[])).await;
    give_up(&announced, "too slow", &line.store).await.unwrap();
    assert_eq!(line.record(&announced).await.state, PushState::Fetched);
}

#[tokio::test]
async fn a_push_too_long_for_one_try_goes_on_with_the_next() {
    let line = Line::new();
    let repo = Repo::new();
    let announced = line
        .announced(&repo, MAIN, &repo.commit("main", &[SPEC]))
        .await;
    let mut fetcher = line.fetcher(&[]);
    fetcher.bounds.time = Duration::ZERO;
    let error = fetch(&announced, &fetcher, &line.store, &line.store)
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Slow { .. }), "{error}");
    assert!(
        error.to_string().starts_with(
            "not all was fetched within 0 s, and the next try goes on from what was: "
        ),
        "{error}"
    );
    assert_eq!(line.record(&announced).await.state, PushState::Fetching);
    line.fetched(&announced, &line.fetcher(&[])).await;
}

#[tokio::test]
async fn a_sweep_removes_what_a_killed_fetcher_left_and_no_more() {
    let line = Line::new();
    let left = line.scratch.path().join("fetch-x/repository.git/objects");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("pack"), "half").unwrap();
    std::fs::write(line.scratch.path().join("notes"), "mine").unwrap();
    line.fetcher(&[]).sweep().unwrap();
    let names = std::fs::read_dir(line.scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["notes"]);
}

#[tokio::test]
async fn dates_begin_in_1970_and_end_in_2106() {
    let line = Line::new();
    let repo = Repo::new();
    let tree = repo.tree(&[SPEC]);
    let announced = line
        .announced(&repo, MAIN, &repo.commit_at("main", tree, -86_400))
        .await;
    assert_eq!(
        line.fetched(&announced, &line.fetcher(&[]))
            .await
            .committed_s,
        0
    );

    let announced = line
        .announced(&repo, MAIN, &repo.commit_at("main", tree, 1 << 32))
        .await;
    let words = "the commit's date, 4294967296 seconds after 1970, is past 2106, which is as far as RPM can count: \
        set the clock right, then `git commit --amend` and push again";
    assert_eq!(line.refused(&announced, &line.fetcher(&[])).await, words);
}

#[tokio::test]
async fn a_fetcher_that_dies_leaves_nothing_half_done() {
    let repo = Repo::new();
    let commit = repo.commit("main", &[SPEC]);
    let mut died = 0;
    for pauses in 0.. {
        let line = Line::with(millrace_store::memory::MemoryStore::with_yields());
        let announced = line.announced(&repo, MAIN, &commit).await;
        let fetcher = line.fetcher(&[]);
        let ended = poll_times(
            fetch(&announced, &fetcher, &line.store, &line.store),
            pauses,
        )
        .await;
        died += usize::from(!ended);
        let planned = line.effects().await.len();
        fetch(&announced, &fetcher, &line.store, &line.store)
            .await
            .unwrap();
        assert_eq!(
            planned + line.effects().await.len(),
            1,
            "after {pauses} pauses"
        );
        assert_eq!(line.record(&announced).await.state, PushState::Fetched);
        if ended {
            break;
        }
    }
    assert!(died > 5, "{died} places to die in are too few");
}

/// Lets a future go on this many times, then drops it; answers whether it ended.
async fn poll_times<T>(future: impl Future<Output = T>, times: usize) -> bool {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn a_push_that_nobody_wrote_down_is_nobodys() {
    let line = Line::new();
    let repo = Repo::new();
    let mut announced = line
        .announced(&repo, MAIN, &repo.commit("main", &[SPEC]))
        .await;
    announced.id = "nobody".parse().unwrap();
    let error = fetch(&announced, &line.fetcher(&[]), &line.store, &line.store)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no push nobody");
}

#[tokio::test]
async fn a_reference_that_git_would_not_take_is_refused() {
    let line = Line::new();
    let repo = Repo::new();
    let commit = repo.commit("main", &[SPEC]);
    let announced = line.announced(&repo, "refs/heads/*", &commit).await;
    assert_eq!(
        line.refused(&announced, &line.fetcher(&[])).await,
        "`refs/heads/*` is no reference"
    );
}
