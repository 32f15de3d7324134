//! State in DynamoDB: the contract of every adapter, and what this one promises besides.

use crate::proxy::{Fate, ProxiedRequest, Proxy};
use crate::services::{Table, config, config_at};
use aws_sdk_dynamodb::types::AttributeValue;
use millrace_core::order::Effect;
use millrace_core::{BuildId, Timestamp};
use millrace_store::contract::run;
use millrace_store::dynamodb::DynamoDb;
use millrace_store::{Commit, Expect, IndexEntry, Key, Record, StateStore, Table as Kind, Write};

mod contract {
    millrace_store::state_contract!(crate::services::Table::new().await);
}

fn index_entries(index: &str, count: usize) -> Vec<IndexEntry> {
    (0..count)
        .map(|number| IndexEntry {
            index: index.to_owned(),
            sort: format!("{number:03}"),
        })
        .collect()
}

async fn write(
    store: &DynamoDb,
    expect: Expect,
    index_entries: Vec<IndexEntry>,
    effects: Vec<Effect>,
) {
    let write = Write {
        key: Key::new(Kind::Build, "b"),
        expect,
        body: Some("{}".to_owned()),
        index_entries,
    };
    store
        .save(Commit {
            writes: vec![write],
            effects,
        })
        .await
        .unwrap();
}

async fn read(store: &DynamoDb) -> Record {
    store
        .load(&Key::new(Kind::Build, "b"))
        .await
        .unwrap()
        .unwrap()
}

fn ended(build: &str) -> Effect {
    Effect::Ended {
        build: BuildId::new(build).unwrap(),
    }
}

#[test]
fn entries_that_a_transaction_has_no_room_to_remove_go_after_it() {
    run(async {
        let (store, _table) = Table::new().await;
        write(&store, Expect::Absent, index_entries("old", 90), Vec::new()).await;
        let version = read(&store).await.version;
        write(
            &store,
            Expect::Version(version),
            index_entries("new", 60),
            vec![ended("b"), ended("c")],
        )
        .await;
        assert_eq!(
            store.index_entries("new", None, 100).await.unwrap().len(),
            60
        );
        assert_eq!(store.index_entries("old", None, 100).await.unwrap(), []);
        let version = read(&store).await.version;
        write(
            &store,
            Expect::Version(version),
            index_entries("old", 90),
            Vec::new(),
        )
        .await;
        assert_eq!(
            store.index_entries("old", None, 100).await.unwrap().len(),
            90,
            "who wants them back has them"
        );
        assert_eq!(store.index_entries("new", None, 100).await.unwrap(), []);
    });
}

#[test]
fn a_table_is_made_once() {
    run(async {
        let (store, _table) = Table::new().await;
        write(&store, Expect::Absent, Vec::new(), Vec::new()).await;
        store.create().await.unwrap();
        assert_eq!(read(&store).await.body, "{}");
    });
}

#[test]
fn a_message_of_a_newer_line_holds_up_nobody_and_is_kept() {
    run(async {
        let (store, table) = Table::new().await;
        store
            .save(Commit {
                writes: Vec::new(),
                effects: vec![ended("one")],
            })
            .await
            .unwrap();
        let client = aws_sdk_dynamodb::Client::new(&config().await);
        let all = client.scan().table_name(&table.name).send().await.unwrap();
        let mut message = all.items()[0].clone();
        message.insert(
            "effect".to_owned(),
            AttributeValue::S(r#"{"effect":"of-a-newer-line"}"#.to_owned()),
        );
        client
            .put_item()
            .table_name(&table.name)
            .set_item(Some(message))
            .send()
            .await
            .unwrap();
        store
            .save(Commit {
                writes: Vec::new(),
                effects: vec![ended("two")],
            })
            .await
            .unwrap();
        let messages = store.take(10, Timestamp(1), Timestamp(2)).await.unwrap();
        assert_eq!(
            messages
                .into_iter()
                .map(|message| message.effect)
                .collect::<Vec<_>>(),
            [ended("two")]
        );
        let dead = store.dead_letters(10).await.unwrap();
        assert!(
            matches!(&dead[0].effect, Effect::Unreadable(words) if words.contains("of-a-newer-line")),
            "{dead:?}"
        );
        assert!(
            store.put_back(dead[0].id, Timestamp(1)).await.unwrap(),
            "for when the newer line is back"
        );
        let out: Vec<Effect> = store
            .unsettled(10)
            .await
            .unwrap()
            .into_iter()
            .map(|message| message.effect)
            .collect();
        assert!(out.contains(&dead[0].effect), "{out:?}");
    });
}

#[test]
fn a_table_is_put_back_from_one_that_was_restored() {
    run(async {
        let (earlier, kept) = Table::new().await;
        write(
            &earlier,
            Expect::Absent,
            index_entries("old", 40),
            vec![ended("b")],
        )
        .await;
        let (store, _table) = Table::new().await;
        write(&store, Expect::Absent, index_entries("new", 1), Vec::new()).await;
        for _ in 0..2 {
            // The record, its index entries and its message.
            assert_eq!(store.restore_from(&kept.name).await.unwrap(), 42);
        }
        assert_eq!(read(&store).await, read(&earlier).await);
        assert_eq!(
            store.index_entries("old", None, 100).await.unwrap().len(),
            40
        );
        assert_eq!(
            store
                .take(10, Timestamp(1), Timestamp(2))
                .await
                .unwrap()
                .len(),
            1,
            "what was on its way is on its way again"
        );
    });
}

#[test]
fn a_record_whose_answer_was_lost_is_written_and_one_of_two_who_write_the_same_is_told_so() {
    run(async {
        let (direct, table) = Table::new().await;
        write(&direct, Expect::Absent, Vec::new(), Vec::new()).await;
        let services = config().await;
        // What is asked for the first time is done, and nobody hears of it.
        let mut lost = 0;
        let lose = move |asked: &ProxiedRequest<'_>| match asked.again {
            0 if lost < 4 => {
                lost += 1;
                Fate::Lose
            }
            _ => Fate::Pass,
        };
        let proxy = Proxy::before(services.endpoint_url().unwrap(), lose).await;
        let store = DynamoDb::open(&config_at(Some(&proxy.endpoint)).await, &table.name);
        let version = read(&direct).await.version;
        write(&store, Expect::Version(version), Vec::new(), Vec::new()).await;
        assert_eq!(
            proxy.met(Fate::Lose),
            1,
            "a record without index entries is written and not read"
        );
        let version = read(&direct).await.version;
        write(
            &store,
            Expect::Version(version),
            index_entries("new", 1),
            Vec::new(),
        )
        .await;
        assert!(proxy.met(Fate::Lose) >= 3, "reading and writing, once each");
        let version = read(&direct).await.version;
        write(&store, Expect::Version(version), Vec::new(), Vec::new()).await;
        assert!(
            direct
                .index_entries("new", None, 10)
                .await
                .unwrap()
                .is_empty(),
            "a record that has index entries is read before it is written without"
        );
        let version = read(&direct).await.version;
        let same = || Commit {
            writes: vec![Write {
                key: Key::new(Kind::Build, "b"),
                expect: Expect::Version(version),
                body: Some("{}".to_owned()),
                index_entries: Vec::new(),
            }],
            effects: Vec::new(),
        };
        let (one, other) = tokio::join!(direct.save(same()), direct.save(same()));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    });
}
