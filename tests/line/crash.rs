//! `kill -9` of the whole line at random moments.

use crate::specs::{empty, files};
use millrace_tests::up::Up;
use std::collections::BTreeMap;
use std::time::Duration;

/// Times that the line is killed while it works.
const KILLS: usize = 8;

#[test]
fn every_build_still_ends_and_nothing_is_released_twice() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let names = ["one", "two", "three"];
    let commits = names.map(|name| up.push_new(name, &files(&empty(name, "BuildArch: noarch", "sleep 1"))));
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(chance.u64(50..2500)));
        up.kill();
        up.go_on();
    }
    for (name, commit) in names.iter().zip(&commits) {
        let (told, released) = up.watch(commit);
        // A task that was killed three times is quarantined: that is an end too, and says so.
        assert!(released || told.contains("leases ended without a verdict"), "{name}, seed {seed}:\n{told}\n{}", up.log());
    }
    let mut seen = BTreeMap::new();
    for build in up.builds() {
        *seen.entry(build["package"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(seen, names.map(|name| (name.to_owned(), 1)).into(), "seed {seed}: a push became two builds, or none");
    let (_, primary) = up.http("GET", &format!("/repo/test-9/{}/os/repodata/repomd.xml", std::env::consts::ARCH), "", "");
    assert!(primary.contains("<repomd"), "seed {seed}: the repository is damaged: {primary}");
}
