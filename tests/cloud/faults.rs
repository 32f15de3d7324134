//! Services that throttle, fail, break off, lose answers and cross: nothing is lost, and nothing is done twice.

use crate::proxy::{Fate, ProxiedRequest, Proxy};
use crate::services::{Bucket, Table, config, config_at};
use axum::http::Method;
use millrace_core::order::Effect;
use millrace_core::{BuildId, Digest, Timestamp};
use millrace_store::contract::run;
use millrace_store::dynamodb::DynamoDb;
use millrace_store::s3::S3;
use millrace_store::{
    BlobStore, Commit, Expect, Key, SaveError, StateError, StateStore, SwapError, Table as Kind,
    Write, chain,
};
use std::collections::BTreeSet;

/// Trouble that passes, each kind as often as the others, in one request of three; no request meets with it more often in a row than a
/// call is tried again.
pub fn trouble(seed: u64) -> impl FnMut(&ProxiedRequest<'_>) -> Fate + Send {
    let mut chance = fastrand::Rng::with_seed(seed);
    move |asked| match chance.u8(0..12) {
        _ if asked.again >= 5 => Fate::Pass,
        0 => Fate::Throttle,
        1 => Fate::Break,
        2 => Fate::Reset,
        3 => Fate::Lose,
        _ => Fate::Pass,
    }
}

async fn before(decide: impl FnMut(&ProxiedRequest<'_>) -> Fate + Send + 'static) -> Proxy {
    let services = config().await;
    Proxy::before(
        services
            .endpoint_url()
            .expect("faults are made before an emulator"),
        decide,
    )
    .await
}

fn ended(build: &str) -> Effect {
    Effect::Ended {
        build: BuildId::new(build).unwrap(),
    }
}

/// Adds one and posts a message that says so, through whatever comes; true if the store said that it was done.
async fn increment(store: &DynamoDb, name: &str) -> bool {
    loop {
        let Ok(Some(record)) = store.load(&Key::new(Kind::Setting, "count")).await else {
            return false;
        };
        let count: u32 = record.body.parse().unwrap();
        let write = Write {
            key: record.key,
            expect: Expect::Version(record.version),
            body: Some((count + 1).to_string()),
            index_entries: Vec::new(),
        };
        match store
            .save(Commit {
                writes: vec![write],
                effects: vec![ended(name)],
            })
            .await
        {
            Ok(()) => return true,
            Err(SaveError::Conflict(_)) => {}
            Err(_) => return false,
        }
    }
}

#[test]
fn commits_through_a_service_in_trouble_are_made_once_each() {
    run(async {
        let (direct, table) = Table::new().await;
        let first = Write {
            key: Key::new(Kind::Setting, "count"),
            expect: Expect::Absent,
            body: Some("0".to_owned()),
            index_entries: vec![],
        };
        direct
            .save(Commit {
                writes: vec![first],
                effects: Vec::new(),
            })
            .await
            .unwrap();
        let proxy = before(trouble(1)).await;
        let store = DynamoDb::open(&config_at(Some(&proxy.endpoint)).await, &table.name);
        let all: Vec<_> = (0..4)
            .map(|worker| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut done = BTreeSet::new();
                    for number in 0..10 {
                        let name = format!("w{worker}-{number}");
                        if increment(&store, &name).await {
                            done.insert(name);
                        }
                    }
                    done
                })
            })
            .collect();
        let mut done = BTreeSet::new();
        for one in all {
            done.extend(one.await.unwrap());
        }
        let count = direct
            .load(&Key::new(Kind::Setting, "count"))
            .await
            .unwrap()
            .unwrap()
            .body;
        let mut messages = Vec::new();
        while let page @ [_, ..] = direct
            .take(20, Timestamp(1), Timestamp(2))
            .await
            .unwrap()
            .as_slice()
        {
            messages.extend(page.iter().map(|message| match &message.effect {
                Effect::Ended { build } => build.to_string(),
                other => panic!("nobody posted {other:?}"),
            }));
        }
        let told: BTreeSet<String> = messages.iter().cloned().collect();
        assert_eq!(
            (count, told.len()),
            (messages.len().to_string(), messages.len()),
            "each was counted and posted once"
        );
        assert!(done.is_subset(&told), "what was said to be done is done");
        assert_eq!(done.len(), 40, "trouble of this kind passes within a call");
        for fate in [Fate::Throttle, Fate::Break, Fate::Reset, Fate::Lose] {
            assert!(proxy.met(fate) > 5, "{fate:?} hardly happened");
        }
    });
}

#[test]
fn messages_through_a_service_in_trouble_are_all_delivered() {
    run(async {
        let (direct, table) = Table::new().await;
        let names: BTreeSet<String> = (0..20).map(|number| format!("b{number}")).collect();
        let effects = names.iter().map(|name| ended(name)).collect();
        direct
            .save(Commit {
                writes: Vec::new(),
                effects,
            })
            .await
            .unwrap();
        let proxy = before(trouble(2)).await;
        let store = DynamoDb::open(&config_at(Some(&proxy.endpoint)).await, &table.name);
        let mut delivered = BTreeSet::new();
        // One whose taking was lost on the way is hidden for a while, and comes again.
        for round in 1..20 {
            for message in store
                .take(7, Timestamp(round), Timestamp(round + 1))
                .await
                .unwrap()
            {
                let Effect::Ended { build } = &message.effect else {
                    panic!("nobody posted {:?}", message.effect)
                };
                delivered.insert(build.to_string());
                store.settle(message.id).await.unwrap();
            }
        }
        assert_eq!(delivered, names);
        assert_eq!(
            direct
                .take(1, Timestamp(1000), Timestamp(1001))
                .await
                .unwrap(),
            []
        );
        assert_eq!(direct.dead_letters(1).await.unwrap(), []);
    });
}

#[test]
fn a_service_that_is_gone_is_told_so_within_the_deadline() {
    run(async {
        let proxy = before(|_| Fate::Break).await;
        let store = DynamoDb::open(&config_at(Some(&proxy.endpoint)).await, "any");
        let told = store
            .load(&Key::new(Kind::Setting, "count"))
            .await
            .unwrap_err();
        assert!(
            matches!(&told, StateError::Unavailable(_)) && chain(&told).contains("made up"),
            "{}",
            chain(&told)
        );
        assert!(
            proxy.met(Fate::Break) > 3,
            "it was tried more than once or twice"
        );
    });
}

#[test]
fn blobs_and_pointers_through_a_service_in_trouble_are_whole() {
    run(async {
        let (direct, bucket) = Bucket::new().await;
        let proxy = before(trouble(3)).await;
        let store = S3::open(&config_at(Some(&proxy.endpoint)).await, &bucket.name);
        let mut long = vec![0; 9 << 20];
        fastrand::Rng::with_seed(5).fill(&mut long);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), &long).unwrap();
        let (digest, size) = store.put_file(&folder.path().join("file")).await.unwrap();
        assert!(direct.read_all(&digest, size).await.unwrap() == long);
        store
            .fetch(&digest, &folder.path().join("back"))
            .await
            .unwrap();
        assert!(std::fs::read(folder.path().join("back")).unwrap() == long);
        direct.swap("list", None, Vec::new()).await.unwrap();
        for byte in 0..20 {
            // A caller that is told of a conflict looks whether its own write was in the way.
            loop {
                let (mut bytes, version) = store.pointer("list").await.unwrap().unwrap();
                if bytes.contains(&byte) {
                    break;
                }
                bytes.push(byte);
                match store.swap("list", Some(&version), bytes).await {
                    Ok(_) => break,
                    Err(SwapError::Conflict(_)) => {}
                    Err(SwapError::Blob(error)) => panic!("{error}"),
                }
            }
        }
        assert_eq!(
            direct.pointer("list").await.unwrap().unwrap().0,
            (0..20).collect::<Vec<u8>>()
        );
    });
}

/// No emulator makes a 409; Amazon S3 User Guide, "Conditional writes", says when the service does.
#[test]
fn a_write_that_crosses_another_is_a_conflict_for_a_pointer_and_tried_again_for_a_blob() {
    run(async {
        let (direct, bucket) = Bucket::new().await;
        let once = |asked: &ProxiedRequest<'_>| {
            if asked.method == Method::PUT && asked.number == 0 {
                Fate::Cross
            } else {
                Fate::Pass
            }
        };
        let proxy = before(once).await;
        let store = S3::open(&config_at(Some(&proxy.endpoint)).await, &bucket.name);
        let refused = store.swap("root", None, b"1".to_vec()).await;
        assert!(
            matches!(&refused, Err(SwapError::Conflict(name)) if name == "root"),
            "{refused:?}"
        );
        assert_eq!(direct.pointer("root").await.unwrap(), None);
        let proxy = before(once).await;
        let store = S3::open(&config_at(Some(&proxy.endpoint)).await, &bucket.name);
        assert_eq!(
            store.put(b"blob".to_vec()).await.unwrap(),
            Digest::of(b"blob")
        );
        assert_eq!(proxy.met(Fate::Cross), 1);
    });
}
