//! What is promised of records, index entries and commits.

use super::{RACERS, race};
use crate::state::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, Commit, Expect, IndexEntry, IndexHit, Key,
    RECORD_BYTES_MAX, Record, SaveError, StateError, StateStore, Table, Version, Write,
};
use millrace_core::order::Effect;
use millrace_core::{BuildId, Timestamp};

/// An effect that can be told apart.
pub(super) fn ended(build: &str) -> Effect {
    Effect::Ended {
        build: BuildId::new(build).unwrap(),
    }
}

/// A commit that writes these.
pub(super) fn commit(writes: Vec<Write>, effects: Vec<Effect>) -> Commit {
    Commit { writes, effects }
}

fn key(id: &str) -> Key {
    Key::new(Table::Setting, id)
}

fn entry(index: &str, sort: &str) -> IndexEntry {
    IndexEntry {
        index: index.to_owned(),
        sort: sort.to_owned(),
    }
}

fn write(id: &str, expect: Expect, body: &str, index_entries: Vec<IndexEntry>) -> Write {
    Write {
        key: key(id),
        expect,
        body: Some(body.to_owned()),
        index_entries,
    }
}

/// With an index entry, which a record that is gone cannot carry.
fn removal(id: &str, version: Version) -> Write {
    Write {
        key: key(id),
        expect: Expect::Version(version),
        body: None,
        index_entries: vec![entry("x", "of nothing")],
    }
}

async fn make<S: StateStore>(store: &S, id: &str, body: &str, index_entries: Vec<IndexEntry>) {
    store
        .save(commit(
            vec![write(id, Expect::Absent, body, index_entries)],
            Vec::new(),
        ))
        .await
        .unwrap();
}

async fn save_one<S: StateStore>(store: &S, one: Write) -> Result<(), SaveError> {
    store.save(commit(vec![one], Vec::new())).await
}

async fn read<S: StateStore>(store: &S, id: &str) -> Record {
    store.load(&key(id)).await.unwrap().expect("it was written")
}

async fn sorts<S: StateStore>(store: &S, index: &str) -> Vec<String> {
    store
        .index_entries(index, None, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|hit| hit.sort)
        .collect()
}

fn is_conflict(result: &Result<(), SaveError>, id: &str) -> bool {
    matches!(result, Err(SaveError::Conflict(found)) if *found == key(id))
}

/// Loading answers key and body, and nothing where nothing is.
pub async fn a_record_is_read_as_it_was_written<S: StateStore>(store: S) {
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    make(&store, "a", r#"{"n":1}"#, Vec::new()).await;
    let record = read(&store, "a").await;
    assert_eq!((record.key, record.body.as_str()), (key("a"), r#"{"n":1}"#));
}

/// `Absent` holds only if there is none.
pub async fn a_record_is_made_once<S: StateStore>(store: S) {
    make(&store, "a", "1", Vec::new()).await;
    let again = save_one(&store, write("a", Expect::Absent, "2", Vec::new())).await;
    assert!(is_conflict(&again, "a"), "{again:?}");
    assert_eq!(read(&store, "a").await.body, "1");
}

/// `Version` holds only for the latest version, which grows.
pub async fn a_record_is_replaced_by_who_read_it_last<S: StateStore>(store: S) {
    make(&store, "a", "1", Vec::new()).await;
    let first = read(&store, "a").await.version;
    save_one(&store, write("a", Expect::Version(first), "2", Vec::new()))
        .await
        .unwrap();
    let second = read(&store, "a").await;
    assert_eq!(second.body, "2");
    assert!(
        second.version > first,
        "{:?} after {first:?}",
        second.version
    );
    for stale in [first, Version(second.version.0 + 1)] {
        let refused = save_one(&store, write("a", Expect::Version(stale), "3", Vec::new())).await;
        assert!(is_conflict(&refused, "a"), "{refused:?}");
    }
    let absent = save_one(&store, write("b", Expect::Version(first), "3", Vec::new())).await;
    assert!(is_conflict(&absent, "b"), "{absent:?}");
    assert_eq!(read(&store, "a").await, second);
}

/// A write without a body removes the record under the same condition as any other.
pub async fn a_removed_record_is_gone_with_its_index_entries<S: StateStore>(store: S) {
    make(&store, "a", "1", vec![entry("x", "a")]).await;
    make(&store, "b", "1", vec![entry("x", "b")]).await;
    let version = read(&store, "a").await.version;
    let refused = save_one(&store, removal("a", Version(version.0 + 1))).await;
    assert!(is_conflict(&refused, "a"), "{refused:?}");
    save_one(&store, removal("a", version)).await.unwrap();
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    assert_eq!(sorts(&store, "x").await, ["b"]);
    let listed = store.list(Table::Setting, None, 100).await.unwrap();
    assert_eq!(
        listed
            .into_iter()
            .map(|record| record.key.id)
            .collect::<Vec<_>>(),
        ["b"]
    );
    let again = save_one(&store, removal("a", version)).await;
    assert!(is_conflict(&again, "a"), "{again:?}");
}

/// Who read a record before it was removed cannot write to the one that came after it.
pub async fn a_record_that_comes_back_goes_on_with_its_versions<S: StateStore>(store: S) {
    make(&store, "a", "1", Vec::new()).await;
    let before = read(&store, "a").await.version;
    save_one(&store, removal("a", before)).await.unwrap();
    make(&store, "a", "2", Vec::new()).await;
    assert!(read(&store, "a").await.version > before);
    let stale = save_one(&store, write("a", Expect::Version(before), "3", Vec::new())).await;
    assert!(is_conflict(&stale, "a"), "{stale:?}");
    assert_eq!(read(&store, "a").await.body, "2");
}

/// One id in two tables is two records.
pub async fn tables_are_apart<S: StateStore>(store: S) {
    let writes = Table::ALL.map(|table| Write {
        key: Key::new(table, "same"),
        expect: Expect::Absent,
        body: Some(format!("\"{}\"", table.as_str())),
        index_entries: Vec::new(),
    });
    store
        .save(commit(writes.to_vec(), Vec::new()))
        .await
        .unwrap();
    for table in Table::ALL {
        let listed = store.list(table, None, 10).await.unwrap();
        assert_eq!(listed.len(), 1, "{table:?}");
        assert_eq!(listed[0].body, format!("\"{}\"", table.as_str()));
    }
}

/// Records, index entries and effects of a commit are all there after it.
pub async fn a_commit_happens_whole<S: StateStore>(store: S) {
    let writes = vec![
        write("a", Expect::Absent, "1", vec![entry("x", "a")]),
        write("b", Expect::Absent, "2", vec![entry("x", "b")]),
    ];
    store
        .save(commit(writes, vec![ended("one"), ended("two")]))
        .await
        .unwrap();
    assert_eq!(
        (read(&store, "a").await.body, read(&store, "b").await.body),
        ("1".to_owned(), "2".to_owned())
    );
    assert_eq!(sorts(&store, "x").await, ["a", "b"]);
    let messages = store.take(10, Timestamp(1), Timestamp(2)).await.unwrap();
    assert_eq!(
        messages
            .into_iter()
            .map(|message| message.effect)
            .collect::<Vec<_>>(),
        [ended("one"), ended("two")]
    );
}

/// One write whose condition fails, wherever it stands, undoes all others and the effects.
pub async fn a_commit_that_meets_a_conflict_does_nothing<S: StateStore>(store: S) {
    make(&store, "b", "1", vec![entry("x", "b")]).await;
    let fits = || write("a", Expect::Absent, "1", vec![entry("x", "a")]);
    let version = read(&store, "b").await.version;
    let fits_too = || write("b", Expect::Version(version), "2", vec![entry("x", "z")]);
    let fails = || write("c", Expect::Version(Version(1)), "1", vec![entry("x", "c")]);
    for writes in [
        vec![fits(), fits_too(), fails()],
        vec![fails(), fits_too(), fits()],
        vec![fits(), fails(), fits_too()],
    ] {
        let refused = store.save(commit(writes, vec![ended("never")])).await;
        assert!(is_conflict(&refused, "c"), "{refused:?}");
    }
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    assert_eq!(store.load(&key("c")).await.unwrap(), None);
    assert_eq!(
        (read(&store, "b").await.body, sorts(&store, "x").await),
        ("1".to_owned(), vec!["b".to_owned()])
    );
    assert_eq!(
        store.take(10, Timestamp(1), Timestamp(2)).await.unwrap(),
        []
    );
}

/// The error of a conflict has the key of a record whose condition failed.
pub async fn a_conflict_names_the_record<S: StateStore>(store: S) {
    make(&store, "b", "1", Vec::new()).await;
    let writes = ["a", "b", "c"].map(|id| write(id, Expect::Absent, "1", Vec::new()));
    let refused = store.save(commit(writes.to_vec(), Vec::new())).await;
    assert!(is_conflict(&refused, "b"), "{refused:?}");
    assert_eq!(
        refused.unwrap_err().to_string(),
        "b was changed by somebody else"
    );
}

/// An effect needs no record; nothing at all is a commit too.
pub async fn a_commit_of_effects_alone_is_made<S: StateStore>(store: S) {
    store.save(Commit::default()).await.unwrap();
    store
        .save(commit(Vec::new(), vec![ended("one")]))
        .await
        .unwrap();
    assert_eq!(
        store
            .take(10, Timestamp(1), Timestamp(2))
            .await
            .unwrap()
            .len(),
        1
    );
}

/// Index entries that a write does not name are gone after it; index entries of other records stay.
pub async fn each_write_replaces_all_index_entries<S: StateStore>(store: S) {
    make(&store, "other", "1", vec![entry("x", "5")]).await;
    make(&store, "a", "1", vec![entry("x", "1"), entry("y", "1")]).await;
    let version = read(&store, "a").await.version;
    save_one(
        &store,
        write(
            "a",
            Expect::Version(version),
            "2",
            vec![entry("x", "9"), entry("z", "1")],
        ),
    )
    .await
    .unwrap();
    assert_eq!(
        (sorts(&store, "x").await, sorts(&store, "y").await),
        (vec!["5".to_owned(), "9".to_owned()], Vec::new())
    );
    assert_eq!(
        store.index_entries("z", None, 10).await.unwrap(),
        [IndexHit {
            sort: "1".to_owned(),
            key: key("a")
        }]
    );
    let version = read(&store, "a").await.version;
    save_one(
        &store,
        write("a", Expect::Version(version), "3", Vec::new()),
    )
    .await
    .unwrap();
    assert_eq!(
        (sorts(&store, "x").await, sorts(&store, "z").await),
        (vec!["5".to_owned()], Vec::new())
    );
}

/// The order is that of bytes, after a place and not from it, and never beyond its index.
pub async fn index_entries_are_found_in_order_page_by_page<S: StateStore>(store: S) {
    for sort in ["b/2", "a", "é", "b", "B", "b/10", "~"] {
        make(
            &store,
            &format!("of {sort}"),
            "1",
            vec![entry("x", sort), entry("x/y", "no"), entry("w", "no")],
        )
        .await;
    }
    let all = ["B", "a", "b", "b/10", "b/2", "~", "é"];
    assert_eq!(sorts(&store, "x").await, all);
    let mut found: Vec<String> = Vec::new();
    while let page @ [_, ..] = store
        .index_entries("x", found.last().map(String::as_str), 3)
        .await
        .unwrap()
        .as_slice()
    {
        assert!(page.len() <= 3);
        assert!(
            page.iter()
                .all(|hit| hit.key == key(&format!("of {}", hit.sort)))
        );
        found.extend(page.iter().map(|hit| hit.sort.clone()));
    }
    assert_eq!(found, all);
    assert_eq!(
        store
            .index_entries("x", Some("bb"), 10)
            .await
            .unwrap()
            .len(),
        2,
        "after a place where nothing is"
    );
    assert_eq!(store.index_entries("nothing", None, 10).await.unwrap(), []);
}

/// Two records with one place in an index are both found.
pub async fn one_place_may_hold_entries_of_several_records<S: StateStore>(store: S) {
    make(&store, "b", "1", vec![entry("x", "same")]).await;
    make(&store, "a", "1", vec![entry("x", "same")]).await;
    let found: Vec<Key> = store
        .index_entries("x", None, 10)
        .await
        .unwrap()
        .into_iter()
        .map(|hit| hit.key)
        .collect();
    assert!(
        found.len() == 2 && found.contains(&key("a")) && found.contains(&key("b")),
        "{found:?}"
    );
    let version = read(&store, "a").await.version;
    save_one(&store, removal("a", version)).await.unwrap();
    assert_eq!(
        store.index_entries("x", None, 10).await.unwrap(),
        [IndexHit {
            sort: "same".to_owned(),
            key: key("b")
        }]
    );
}

/// `list` goes by the bytes of ids, after an id and not from it.
pub async fn records_are_listed_in_order_page_by_page<S: StateStore>(store: S) {
    for id in ["c", "a", "b", "a/1", "A", "ä"] {
        make(&store, id, "1", Vec::new()).await;
    }
    let elsewhere = Write {
        key: Key::new(Table::Runner, "b"),
        ..write("b", Expect::Absent, "1", Vec::new())
    };
    save_one(&store, elsewhere).await.unwrap();
    let mut found: Vec<String> = Vec::new();
    while let page @ [_, ..] = store
        .list(Table::Setting, found.last().map(String::as_str), 4)
        .await
        .unwrap()
        .as_slice()
    {
        assert!(page.len() <= 4);
        found.extend(page.iter().map(|record| record.key.id.clone()));
    }
    assert_eq!(found, ["A", "a", "a/1", "b", "c", "ä"]);
    let after = store.list(Table::Setting, Some("aa"), 1).await.unwrap();
    assert_eq!(
        after,
        [read(&store, "b").await],
        "a listed record is the record that loading answers"
    );
}

/// Ids, places and bodies are texts, not something to be taken apart.
pub async fn any_text_is_kept<S: StateStore>(store: S) {
    let odd = "x' OR 1=1; -- \u{1F980} \"%_\\/#\n\t";
    make(&store, odd, odd, vec![entry(odd, odd)]).await;
    assert_eq!(read(&store, odd).await.body, odd);
    assert_eq!(
        store.index_entries(odd, None, 10).await.unwrap(),
        [IndexHit {
            sort: odd.to_owned(),
            key: key(odd)
        }]
    );
}

/// The limit is the same for every store, and the error names record and size.
pub async fn the_largest_record_fits_and_a_larger_one_is_refused<S: StateStore>(store: S) {
    let largest = "x".repeat(RECORD_BYTES_MAX);
    make(&store, "a", &largest, Vec::new()).await;
    assert_eq!(read(&store, "a").await.body.len(), RECORD_BYTES_MAX);
    let writes = vec![
        write("b", Expect::Absent, "1", Vec::new()),
        write("c", Expect::Absent, &format!("{largest}x"), Vec::new()),
    ];
    let refused = store.save(commit(writes, vec![ended("never")])).await;
    let Err(SaveError::TooLarge { what: found, bytes }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((found, bytes), (key("c").id, RECORD_BYTES_MAX + 1));
    assert_eq!(store.load(&key("b")).await.unwrap(), None);
}

/// Records, index entries and effects count, by their number and by their bytes.
pub async fn the_largest_commit_fits_and_a_larger_one_is_refused<S: StateStore>(store: S) {
    let index_entries = || vec![entry("x", "1"), entry("y", "1")];
    let of_size = |name: &str, size: usize| {
        let effects = (0..size - 3)
            .map(|number| ended(&format!("e{number}")))
            .collect();
        commit(
            vec![write(name, Expect::Absent, "1", index_entries())],
            effects,
        )
    };
    store.save(of_size("a", COMMIT_WRITES_MAX)).await.unwrap();
    let refused = store.save(of_size("b", COMMIT_WRITES_MAX + 1)).await;
    assert!(
        matches!(&refused, Err(SaveError::State(StateError::Unfit(words))) if words.to_string().contains("101 writes")),
        "{refused:?}"
    );
    assert_eq!(store.load(&key("b")).await.unwrap(), None);
    let largest = "x".repeat(RECORD_BYTES_MAX);
    let of_largest = |name: &str, count: usize| {
        commit(
            (0..count)
                .map(|number| {
                    write(
                        &format!("{name}{number}"),
                        Expect::Absent,
                        &largest,
                        Vec::new(),
                    )
                })
                .collect(),
            Vec::new(),
        )
    };
    let fit = COMMIT_BYTES_MAX / RECORD_BYTES_MAX;
    store.save(of_largest("c", fit)).await.unwrap();
    let refused = store.save(of_largest("d", fit + 1)).await;
    assert!(
        matches!(&refused, Err(SaveError::State(StateError::Unfit(words))) if words.to_string().contains(" bytes")),
        "{refused:?}"
    );
    assert_eq!(store.load(&key("d0")).await.unwrap(), None);
}

/// Which of the two would win is nobody's guess.
pub async fn a_commit_that_writes_one_record_twice_is_refused<S: StateStore>(store: S) {
    let writes = vec![
        write("a", Expect::Absent, "1", Vec::new()),
        write("a", Expect::Absent, "2", Vec::new()),
    ];
    let refused = store.save(commit(writes, vec![ended("never")])).await;
    assert!(
        matches!(refused, Err(SaveError::State(StateError::Unfit(_)))),
        "{refused:?}"
    );
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
}

/// How many of these won; every other one lost to a conflict.
fn winners(results: &[Result<(), SaveError>]) -> Vec<usize> {
    let lost = |result: &Result<(), SaveError>| matches!(result, Err(SaveError::Conflict(_)));
    assert!(
        results.iter().all(|result| result.is_ok() || lost(result)),
        "{results:?}"
    );
    results
        .iter()
        .enumerate()
        .filter(|(_, result)| result.is_ok())
        .map(|(racer, _)| racer)
        .collect()
}

async fn one_wins<S: StateStore>(store: &S, expect: Expect) {
    let results = race(RACERS, |racer| {
        let (store, racer) = (store.clone(), racer.to_string());
        async move {
            store
                .save(commit(
                    vec![write("a", expect, &racer, vec![entry("x", &racer)])],
                    vec![ended(&racer)],
                ))
                .await
        }
    });
    let won = winners(&results.await);
    assert_eq!(won.len(), 1, "{won:?} won");
    let winner = won[0].to_string();
    assert_eq!(
        (read(store, "a").await.body, sorts(store, "x").await),
        (winner.clone(), vec![winner.clone()])
    );
    let messages = store
        .take(RACERS, Timestamp(1), Timestamp(2))
        .await
        .unwrap();
    assert_eq!(
        messages
            .into_iter()
            .map(|message| message.effect)
            .collect::<Vec<_>>(),
        [ended(&winner)]
    );
}

/// And only its index entries and effects are there.
pub async fn of_many_who_make_a_record_one_wins<S: StateStore>(store: S) {
    one_wins(&store, Expect::Absent).await;
}

/// All of them have read the same version.
pub async fn of_many_who_replace_a_record_one_wins<S: StateStore>(store: S) {
    make(&store, "a", "0", Vec::new()).await;
    let version = read(&store, "a").await.version;
    one_wins(&store, Expect::Version(version)).await;
}

async fn increment<S: StateStore>(store: &S) {
    loop {
        let record = read(store, "count").await;
        let more = (record.body.parse::<u32>().unwrap() + 1).to_string();
        match save_one(
            store,
            write("count", Expect::Version(record.version), &more, Vec::new()),
        )
        .await
        {
            Ok(()) => return,
            Err(SaveError::Conflict(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Load, decide, save, again on conflict: 50 times by ten at once.
pub async fn no_increment_is_lost<S: StateStore>(store: S) {
    make(&store, "count", "0", Vec::new()).await;
    let before = read(&store, "count").await.version;
    let results = race(10, |_| {
        let store = store.clone();
        async move {
            for _ in 0..5 {
                increment(&store).await;
            }
        }
    });
    results.await;
    let after = read(&store, "count").await;
    assert_eq!(after.body, "50");
    assert!(
        after.version.0 >= before.0 + 50,
        "each write has a version of its own"
    );
}

/// Two commits that write the same records in another order: one of them wins both.
pub async fn commits_that_cross_do_not_mix<S: StateStore>(store: S) {
    for round in 0..8 {
        let names = [format!("{round}/a"), format!("{round}/b")];
        let results = race(2, |racer| {
            let (store, mut names) = (store.clone(), names.clone());
            if racer == 1 {
                names.reverse();
            }
            let writes = names
                .map(|name| write(&name, Expect::Absent, &racer.to_string(), Vec::new()))
                .to_vec();
            async move { store.save(commit(writes, Vec::new())).await }
        });
        let won = winners(&results.await);
        assert_eq!(won.len(), 1, "{won:?} won");
        let found = (
            read(&store, &names[0]).await.body,
            read(&store, &names[1]).await.body,
        );
        assert_eq!(found, (won[0].to_string(), won[0].to_string()));
    }
}
