//! `kill -9` of a process that writes without pause, at random moments: nothing acknowledged is lost, nothing is torn.

use millrace_core::order::Effect;
use millrace_core::{BuildId, Digest, Timestamp};
use millrace_store::contract::run;
use millrace_store::local::LocalStore;
use millrace_store::state::IndexEntry;
use millrace_store::{BlobStore, Commit, Expect, Key, StateStore, Table, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Times that the writer is killed.
const KILLS: u64 = 15;

/// Says to this program, started by itself, where to write without pause, and from which number on.
const FOLDER: &str = "MILLRACE_TEST_CRASH_FOLDER";
const FROM: &str = "MILLRACE_TEST_CRASH_FROM";

/// Records in each commit.
const RECORDS: u64 = 3;

/// What the writer prints before each number of a commit that was acknowledged.
const ACKNOWLEDGED: &str = "acknowledged ";

/// A blob that takes several writes, so that a kill may fall between them.
fn bytes(number: u64) -> Vec<u8> {
    (0..40_000)
        .flat_map(|word: u64| (word.wrapping_mul(number + 0x9e37_79b9)).to_le_bytes())
        .collect()
}

async fn write(store: &LocalStore, number: u64) {
    let digest = store.put(bytes(number)).await.unwrap();
    let record = |part| Write {
        key: Key::new(Table::Setting, format!("{number:06}/{part}")),
        expect: Expect::Absent,
        body: Some(digest.to_string()),
        index_entries: vec![IndexEntry {
            index: "all".into(),
            sort: format!("{number:06}/{part}"),
        }],
    };
    let effects = vec![Effect::Ended {
        build: BuildId::new(&format!("b{number}")).unwrap(),
    }];
    store
        .save(Commit {
            writes: (0..RECORDS).map(record).collect(),
            effects,
        })
        .await
        .unwrap();
}

/// No test of its own: what the test below starts and kills. Run without a folder, there is nothing to do.
#[test]
fn the_writer_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let store = LocalStore::open(Path::new(&folder)).unwrap();
    let _lock = store.lock().unwrap();
    run(async move {
        for number in from.. {
            write(&store, number).await;
            println!("\n{ACKNOWLEDGED}{number}");
        }
    });
}

fn start(folder: &Path, from: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::the_writer_that_is_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a writer work for a while and kills it; answers what it said was done.
fn kill_at_random(folder: &Path, from: u64, chance: &mut fastrand::Rng) -> Vec<u64> {
    let mut writer = start(folder, from);
    let mut lines = BufReader::new(writer.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut said = Vec::new();
    let number = |line: String| {
        line.strip_prefix(ACKNOWLEDGED)
            .map(|number| number.parse::<u64>().unwrap())
    };
    // One time in four while it opens the folder, else while it writes.
    if chance.u8(..4) > 0 {
        said.extend(lines.by_ref().find_map(number));
    }
    std::thread::sleep(Duration::from_micros(chance.u64(0..200_000)));
    // SIGKILL; the kernel keeps what is in the pipe, and an acknowledgement cut short by it was none.
    writer.kill().unwrap();
    writer.wait().unwrap();
    said.extend(lines.filter_map(number));
    said
}

/// Commits whose every record and index entry is there; panics if one is torn.
async fn whole(store: &LocalStore) -> BTreeMap<u64, Digest> {
    let records = store.list(Table::Setting, None, usize::MAX).await.unwrap();
    let index_entries = store.index_entries("all", None, usize::MAX).await.unwrap();
    assert_eq!(
        records.iter().map(|record| &record.key).collect::<Vec<_>>(),
        index_entries.iter().map(|hit| &hit.key).collect::<Vec<_>>()
    );
    let mut commits: BTreeMap<u64, Vec<Digest>> = BTreeMap::new();
    for record in records {
        let number = record.key.id.split('/').next().unwrap().parse().unwrap();
        commits
            .entry(number)
            .or_default()
            .push(record.body.parse().unwrap());
    }
    let one = |(number, digests): (u64, Vec<Digest>)| {
        assert_eq!(digests.len() as u64, RECORDS, "commit {number} is torn");
        (number, digests[0])
    };
    commits.into_iter().map(one).collect()
}

/// Effects that are waiting; they are settled on the way, so that no kill makes dead letters of them.
async fn effects(store: &LocalStore) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for message in store
        .take(usize::MAX, Timestamp(1), Timestamp(2))
        .await
        .unwrap()
    {
        let Effect::Ended { build } = message.effect else {
            panic!("{message:?}")
        };
        assert!(
            found.insert(build.as_str()[1..].parse().unwrap()),
            "{build} has two effects"
        );
        store.settle(message.id).await.unwrap();
    }
    found
}

/// Every blob that has a name has its bytes; answers how many there are.
fn check_blobs(folder: &Path) -> usize {
    let mut blobs = 0;
    for two in fs::read_dir(folder.join("blobs"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|two| two.file_name() != "new")
    {
        for blob in fs::read_dir(two.path()).unwrap().map(Result::unwrap) {
            let hex = [
                two.file_name().to_str().unwrap(),
                blob.file_name().to_str().unwrap(),
            ]
            .concat();
            assert_eq!(Digest::of(&fs::read(blob.path()).unwrap()).hex(), hex);
            blobs += 1;
        }
    }
    blobs
}

fn check_database(folder: &Path) {
    let database = rusqlite::Connection::open(folder.join("state.db")).unwrap();
    let told: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(told, "ok");
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_torn() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut settled) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..KILLS {
        let from = settled.last().map_or(0, |last: &u64| last + 1);
        acknowledged.extend(kill_at_random(folder.path(), from, &mut chance));
        let store = LocalStore::open(folder.path()).unwrap();
        store.lock().expect("the lock went with the process");
        run(async {
            let commits = whole(&store).await;
            let present: BTreeSet<u64> = commits.keys().copied().collect();
            assert!(
                acknowledged.is_subset(&present),
                "lost: {:?}",
                acknowledged.difference(&present)
            );
            settled.extend(effects(&store).await);
            assert_eq!(
                settled, present,
                "effects are there for the commits that are, and for no other"
            );
            for (number, digest) in commits {
                assert_eq!(
                    store.size(&digest).await.unwrap(),
                    Some(bytes(number).len() as u64)
                );
            }
        });
        assert!(check_blobs(folder.path()) >= settled.len());
        check_database(folder.path());
    }
    eprintln!(
        "{} commits acknowledged, {} made",
        acknowledged.len(),
        settled.len()
    );
    assert!(acknowledged.len() > 5, "the writer did not get to write");
}
