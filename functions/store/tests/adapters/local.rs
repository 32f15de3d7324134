//! The stores in a folder: the promises, several processes at once, and what a damaged folder gets.

use millrace_core::order::Effect;
use millrace_core::{BuildId, Digest, Timestamp};
use millrace_store::contract::run;
use millrace_store::local::{LocalStore, OpenError};
use millrace_store::records::{get, put};
use millrace_store::{
    BlobError, BlobStore, Commit, Expect, SaveError, StateError, StateStore, SwapError, Table,
};
use rusqlite::Connection;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

mod state {
    millrace_store::state_contract!(super::fresh());
}

mod blobs {
    millrace_store::blob_contract!(super::fresh());
}

fn fresh() -> (LocalStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (LocalStore::open(folder.path()).unwrap(), folder)
}

fn place(folder: &Path, digest: &Digest) -> PathBuf {
    folder
        .join("blobs")
        .join(&digest.hex()[..2])
        .join(&digest.hex()[2..])
}

fn database(folder: &Path) -> Connection {
    Connection::open(folder.join("state.db")).unwrap()
}

async fn post(store: &LocalStore, build: &str) {
    let effects = vec![Effect::Ended {
        build: BuildId::new(build).unwrap(),
    }];
    store
        .save(Commit {
            writes: Vec::new(),
            effects,
        })
        .await
        .unwrap();
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let (store, folder) = fresh();
    run(async move {
        put(&store, Table::Setting, "a", Expect::Absent, &7, Vec::new())
            .await
            .unwrap();
        post(&store, "one").await;
        let digest = store.put(b"bytes".to_vec()).await.unwrap();
        let pointer = store.swap("root", None, b"there".to_vec()).await.unwrap();
        drop(store);
        let store = LocalStore::open(folder.path()).unwrap();
        assert_eq!(
            get::<u32>(&store, Table::Setting, "a")
                .await
                .unwrap()
                .unwrap()
                .0,
            7
        );
        assert_eq!(
            store
                .take(10, Timestamp(1), Timestamp(2))
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(store.read(&digest, 0..5).await.unwrap(), b"bytes");
        assert_eq!(
            store.pointer("root").await.unwrap(),
            Some((b"there".to_vec(), pointer))
        );
    });
}

#[test]
fn a_message_that_was_taken_by_a_clock_that_was_ahead_comes_as_soon_as_any_other() {
    let (store, _folder) = fresh();
    run(async move {
        post(&store, "one").await;
        let (now, ahead) = (Timestamp(1_000), Timestamp(9_000_000));
        assert_eq!(
            store
                .take(10, ahead, ahead.plus_ms(500))
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(
            store
                .take(10, now.plus_ms(500), now.plus_ms(1_000))
                .await
                .unwrap()
                .len(),
            0
        );
        assert_eq!(
            store.hide_no_longer_than(now.plus_ms(500)).await.unwrap(),
            1
        );
        assert_eq!(
            store
                .take(10, now.plus_ms(499), now.plus_ms(1_000))
                .await
                .unwrap()
                .len(),
            0
        );
        assert_eq!(
            store
                .take(10, now.plus_ms(500), now.plus_ms(1_000))
                .await
                .unwrap()
                .len(),
            1
        );
    });
}

async fn increment(store: &LocalStore) {
    loop {
        let (count, version) = get::<u32>(store, Table::Setting, "count")
            .await
            .unwrap()
            .unwrap();
        match put(
            store,
            Table::Setting,
            "count",
            Expect::Version(version),
            &(count + 1),
            Vec::new(),
        )
        .await
        {
            Ok(()) => return,
            Err(SaveError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn append(store: &LocalStore) {
    loop {
        let (mut bytes, version) = store.pointer("root").await.unwrap().unwrap();
        bytes.push(0);
        match store.swap("root", Some(&version), bytes).await {
            Ok(_) => return,
            Err(SwapError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A connection of its own is to SQLite what a process of its own is.
#[test]
fn two_processes_over_one_folder_lose_nothing() {
    let (first, folder) = fresh();
    run(async move {
        put(
            &first,
            Table::Setting,
            "count",
            Expect::Absent,
            &0,
            Vec::new(),
        )
        .await
        .unwrap();
        first.swap("root", None, Vec::new()).await.unwrap();
        let workers: Vec<_> = (0..4)
            .map(|_| LocalStore::open(folder.path()).unwrap())
            .map(|own| {
                tokio::spawn(async move {
                    for _ in 0..10 {
                        increment(&own).await;
                        append(&own).await;
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        assert_eq!(
            get::<u32>(&first, Table::Setting, "count")
                .await
                .unwrap()
                .unwrap()
                .0,
            40
        );
        assert_eq!(first.pointer("root").await.unwrap().unwrap().0.len(), 40);
    });
}

#[test]
fn many_may_open_a_folder_that_is_not_there_yet() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/of/the/line");
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| LocalStore::open(&path).map(|_| ())))
            .collect();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_line_has_its_folder_to_itself() {
    let (store, folder) = fresh();
    let other = LocalStore::open(folder.path()).unwrap();
    let lock = store.lock().unwrap();
    let refused = other.lock().unwrap_err();
    assert!(
        matches!(&refused, OpenError::InUse(path) if path == folder.path()),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .ends_with("is in use by another process"),
        "{refused}"
    );
    drop(lock);
    other.lock().unwrap();
}

#[test]
fn a_folder_that_a_newer_millrace_wrote_is_refused_and_left_alone() {
    let (store, folder) = fresh();
    drop(store);
    database(folder.path())
        .pragma_update(None, "user_version", 9)
        .unwrap();
    let refused = LocalStore::open(folder.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 9, .. }));
    assert!(
        refused
            .to_string()
            .ends_with("state.db has layout 9, and this millrace reads up to 1: use the newer one"),
        "{refused}"
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("state.db"),
        "what somebody else keeps here ".repeat(100),
    )
    .unwrap();
    let refused = LocalStore::open(folder.path()).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Database { path, .. } if path.ends_with("state.db")),
        "{refused}"
    );
}

#[test]
fn a_file_in_place_of_the_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let refused = LocalStore::open(&folder.path().join("file")).unwrap_err();
    assert!(
        matches!(&refused, OpenError::Io { path, .. } if path.ends_with("file")),
        "{refused}"
    );
}

#[test]
fn a_damaged_blob_is_not_fetched() {
    let (store, folder) = fresh();
    run(async move {
        let digest = store.put(b"as it was put".to_vec()).await.unwrap();
        fs::write(place(folder.path(), &digest), b"as it was not").unwrap();
        let to = folder.path().join("new");
        let refused = store.fetch(&digest, &to).await.unwrap_err();
        assert!(
            matches!(&refused, BlobError::Damaged { expected, found } if *expected == digest && *found == Digest::of(b"as it was not"))
        );
        assert!(!to.exists(), "nobody may take it for the blob");
    });
}

#[test]
fn a_blob_that_lost_its_end_is_made_whole_by_putting_it_again() {
    let (store, folder) = fresh();
    run(async move {
        let digest = store.put(b"as it was put".to_vec()).await.unwrap();
        File::options()
            .write(true)
            .open(place(folder.path(), &digest))
            .unwrap()
            .set_len(3)
            .unwrap();
        store.put(b"as it was put".to_vec()).await.unwrap();
        assert_eq!(store.read(&digest, 0..13).await.unwrap(), b"as it was put");
    });
}

#[test]
fn what_a_dead_process_was_writing_is_removed_and_what_a_living_one_writes_is_not() {
    let (store, folder) = fresh();
    drop(store);
    let (dead, living) = (
        folder.path().join("blobs/new/dead"),
        folder.path().join("blobs/new/living"),
    );
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
    File::create(&dead).unwrap().set_modified(long_ago).unwrap();
    File::create(&living).unwrap();
    LocalStore::open(folder.path()).unwrap();
    assert_eq!((dead.exists(), living.exists()), (false, true));
}

#[test]
fn nothing_unfinished_is_left_where_putting_fails() {
    let (store, folder) = fresh();
    run(async move {
        store.put_file(folder.path()).await.unwrap_err();
        assert_eq!(
            fs::read_dir(folder.path().join("blobs/new"))
                .unwrap()
                .count(),
            0
        );
    });
}

#[test]
fn a_message_that_cannot_be_read_holds_up_nobody_and_is_kept() {
    let (store, folder) = fresh();
    run(async move {
        post(&store, "one").await;
        database(folder.path())
            .execute(
                "UPDATE letter SET effect = '{\"effect\":\"of-a-newer-line\"}'",
                [],
            )
            .unwrap();
        post(&store, "two").await;
        let messages = store.take(10, Timestamp(1), Timestamp(2)).await.unwrap();
        assert_eq!(
            messages
                .into_iter()
                .map(|message| message.effect)
                .collect::<Vec<_>>(),
            [Effect::Ended {
                build: BuildId::new("two").unwrap()
            }]
        );
        let dead = store.dead_letters(10).await.unwrap();
        assert!(
            matches!(&dead[0].effect, Effect::Unreadable(words) if words.contains("of-a-newer-line")),
            "{dead:?}"
        );
        assert!(
            store.put_back(dead[0].id, Timestamp(1)).await.unwrap(),
            "for when the newer program is back"
        );
        assert_eq!(
            store.unsettled(10).await.unwrap()[0].effect,
            dead[0].effect,
            "it is as it was"
        );
    });
}

#[test]
fn a_damaged_database_is_told_apart_from_passing_trouble() {
    let (store, folder) = fresh();
    run(async move {
        put(&store, Table::Setting, "a", Expect::Absent, &7, Vec::new())
            .await
            .unwrap();
        database(folder.path())
            .execute("UPDATE record SET version = 'no number'", [])
            .unwrap();
        let told = get::<u32>(&store, Table::Setting, "a").await.unwrap_err();
        assert!(matches!(told, StateError::Corrupt { .. }), "{told}");
    });
}

#[test]
fn a_commit_and_a_swap_wait_for_another_process_that_is_writing() {
    let (store, folder) = fresh();
    run(async move {
        let (other, also) = (
            database(folder.path()),
            LocalStore::open(folder.path()).unwrap(),
        );
        other
            .execute_batch("BEGIN IMMEDIATE; INSERT INTO pointer VALUES ('elsewhere', 1, x'00')")
            .unwrap();
        let commit = tokio::spawn(async move {
            put(&store, Table::Setting, "a", Expect::Absent, &7, Vec::new()).await
        });
        let swap = tokio::spawn(async move { also.swap("root", None, Vec::new()).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!commit.is_finished() && !swap.is_finished());
        other.execute_batch("COMMIT").unwrap();
        commit.await.unwrap().unwrap();
        swap.await.unwrap().unwrap();
    });
}
