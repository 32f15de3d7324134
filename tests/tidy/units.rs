//! What the first build of the demo compiles: a dependency shows its price when it comes.

use crate::house;
use std::collections::BTreeSet;
use std::process::Command;

/// Most crates that the demo may compile, each counted once per set of features. With 440 its first build takes some five minutes on two cores.
/// The person who raises it has measured that build: `cargo build -p millrace-cli --timings` in an empty build folder.
const CRATES_MAX: usize = 460;

/// Where the limit stands.
const THIS_FILE: &str = "tests/tidy/units.rs";

#[test]
fn the_demo_compiles_no_more_than_it_did() {
    let crates = crates_of_the_demo();
    assert!(
        crates.len() <= CRATES_MAX,
        "the demo compiles {} crates, and may compile {CRATES_MAX}: {}",
        crates.len(),
        added(&crates)
    );
}

/// `NAME VERSION FEATURES` of everything that `millrace` is built of and with on this machine.
fn crates_of_the_demo() -> BTreeSet<String> {
    let tree = cargo_tree(&["-p", "millrace-cli", "--edges", "normal,build"]);
    tree.lines().map(str::to_owned).collect()
}

fn cargo_tree(words: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--offline", "--locked", "--prefix", "none"])
        .args(["--no-dedupe", "--format", "{p} {f}"])
        .args(words)
        .current_dir(house());
    output(&mut tree)
}

/// Which crates have come since the limit was set: those that the lock file of that commit did not have.
fn added(crates: &BTreeSet<String>) -> String {
    let git = |words: &[&str]| output(Command::new("git").args(words).current_dir(house()));
    let commit = git(&["log", "-1", "--format=%H", "--", THIS_FILE]);
    let before = git(&["show", &format!("{}:Cargo.lock", commit.trim())]);
    let known: BTreeSet<&str> = before
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    let names = crates.iter().filter_map(|one| one.split(' ').next());
    let new: BTreeSet<&str> = names.filter(|name| !known.contains(name)).collect();
    if new.is_empty() {
        "no crate is new since then, but some have other features or versions, and are compiled twice (`cargo tree -d`)".to_owned()
    } else {
        format!("new since then are {new:?}")
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
