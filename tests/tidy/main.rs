//! Holds the house to its plan: what lies at the top, who may depend on whom, how files begin, and what nobody may leave behind.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod circles;
mod docs;
mod units;

use millrace_core::Arch;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest source file, in lines: past it, look for the second thing that it does.
const LINES_MAX: usize = 800;

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every file of the project, relative to its top; what builds leave behind is not looked at.
fn files() -> Vec<PathBuf> {
    fn walk(folder: &Path, top: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if matches!(name, ".git" | "target") || name.ends_with(".pending-snap") {
                continue;
            }
            if path.is_dir() {
                walk(&path, top, found);
            } else {
                found.push(path.strip_prefix(top).unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&house(), &house(), &mut found);
    found.sort();
    found
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files().into_iter().filter(rust).map(|path| {
        let text = std::fs::read_to_string(house().join(&path)).unwrap();
        (path, text)
    })
}

/// Which dependencies of a crate are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DependencyKind {
    /// What it is built of, on whatever machine.
    Crate,
    /// What only its tests use.
    Tests,
}

/// The crates of the workspace with the crates of the workspace that they depend on.
fn dependencies(of: DependencyKind) -> BTreeMap<String, BTreeSet<String>> {
    let manifests = files()
        .into_iter()
        .filter(|path| path.ends_with("Cargo.toml") && path.components().count() > 1);
    let read = |path: PathBuf| {
        let manifest: toml::Table = std::fs::read_to_string(house().join(path))
            .unwrap()
            .parse()
            .unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let targets = manifest
            .get("target")
            .and_then(toml::Value::as_table)
            .cloned()
            .unwrap_or_default();
        let parts =
            std::iter::once(&manifest).chain(targets.values().filter_map(toml::Value::as_table));
        let words: &[&str] = if of == DependencyKind::Tests {
            &["dev-dependencies"]
        } else {
            &["dependencies", "build-dependencies"]
        };
        let all = parts
            .flat_map(|part| words.iter().filter_map(|word| part.get(*word)?.as_table()))
            .flat_map(toml::Table::keys);
        (
            name,
            all.filter(|name| name.starts_with("millrace") || name.starts_with("plugin-"))
                .cloned()
                .collect(),
        )
    };
    manifests.map(read).collect()
}

#[test]
fn the_top_level_is_as_it_was_fixed() {
    let wanted = BTreeSet::from([
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "functions",
        "infra",
        "runners",
        "tests",
        "wit",
    ]);
    let found: BTreeSet<String> = files()
        .iter()
        .map(|path| {
            path.components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let odd: Vec<&String> = found
        .iter()
        .filter(|name| !name.starts_with('.') && !wanted.contains(name.as_str()))
        .collect();
    assert!(odd.is_empty(), "not in the plan of the house: {odd:?}");
    let missing: Vec<&&str> = wanted
        .iter()
        .filter(|name| !found.contains(**name))
        .collect();
    assert!(missing.is_empty(), "missing at the top: {missing:?}");
}

#[test]
fn work_flows_one_way() {
    let may: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("millrace-core", &[][..]),
        ("millrace-store", &["millrace-core"][..]),
        ("millrace-control", &["millrace-core", "millrace-store"][..]),
        ("millrace-log", &[][..]),
        (
            "millrace-lambda",
            &["millrace-core", "millrace-log", "millrace-store"][..],
        ),
        ("millrace-view", &["millrace-core", "millrace-store"][..]),
        (
            "millrace-listener",
            &["millrace-core", "millrace-lambda", "millrace-store"][..],
        ),
        (
            "millrace-source",
            &["millrace-core", "millrace-lambda", "millrace-store"][..],
        ),
        (
            "millrace-orchestrator",
            &["millrace-core", "millrace-lambda", "millrace-store"][..],
        ),
        (
            "millrace-signer",
            &["millrace-core", "millrace-lambda", "millrace-store"][..],
        ),
        (
            "millrace-releaser",
            &["millrace-core", "millrace-lambda", "millrace-store"][..],
        ),
        (
            "millrace-web",
            &[
                "millrace-core",
                "millrace-lambda",
                "millrace-store",
                "millrace-view",
            ][..],
        ),
        ("millrace-host", &["millrace-core"][..]),
        ("millrace-sdk", &[][..]),
        ("plugin-source", &["millrace-sdk"][..]),
        ("plugin-rpm", &["millrace-sdk"][..]),
        ("plugin-check", &["millrace-sdk"][..]),
        ("xtask", &[][..]),
    ]);
    let see_everything = ["millrace-cli", "millrace-tests"];
    for (name, needs) in dependencies(DependencyKind::Crate) {
        if see_everything.contains(&name.as_str()) {
            continue;
        }
        let allowed = may
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} has no place in the plan of who depends on whom"));
        let odd: Vec<&String> = needs
            .iter()
            .filter(|need| !allowed.contains(&need.as_str()))
            .collect();
        assert!(odd.is_empty(), "{name} may not depend on {odd:?}");
    }
}

#[test]
fn tests_of_a_function_know_no_other_function() {
    // The tests of all see everything; nobody else's need a crate that the crate itself does not. They may ask for more of one that
    // it does: its feature `testing`.
    let own = dependencies(DependencyKind::Crate);
    let needs: Vec<(String, BTreeSet<String>)> = dependencies(DependencyKind::Tests)
        .into_iter()
        .filter(|(name, _)| !["millrace-cli", "millrace-tests"].contains(&name.as_str()))
        .map(|(name, needs)| {
            let more = needs.difference(&own[&name]).cloned().collect();
            (name, more)
        })
        .filter(|(_, more): &(String, BTreeSet<String>)| !more.is_empty())
        .collect();
    assert!(
        needs.is_empty(),
        "a crate's tests may not need another crate of the line: {needs:?}"
    );
}

#[test]
fn no_function_links_what_it_does_not_need() {
    const GIT: &[&str] = &["git2", "libgit2-sys"];
    const PAGES: &[&str] = &["maud"];
    const HTTP: &[&str] = &["axum", "lambda_http"];
    const KEYS: &[&str] = &["sequoia-openpgp", "aws-sdk-kms"];
    const REPODATA: &[&str] = &["rpmrepo_metadata"];
    const HOSTS: &[&str] = &["aws-sdk-autoscaling"];
    const CALLS: &[&str] = &["aws-sdk-lambda"];
    const SECRETS: &[&str] = &["aws-sdk-secretsmanager"];
    // Of one machine, of runners; and the older TLS and HTTP that the AWS crates bring along where nobody looks.
    const NOBODYS: &[&str] = &[
        "rusqlite",
        "wasmtime",
        "clap",
        "aws-lc-sys",
        "rustls@0.21",
        "hyper@0.14",
    ];
    let functions: [(&str, &[&[&str]]); 6] = [
        ("listener", &[GIT, PAGES, KEYS, REPODATA, HOSTS, CALLS]),
        // It reads the names in platforms' repositories.
        ("source", &[PAGES, HTTP, KEYS, HOSTS, CALLS, SECRETS]),
        ("orchestrator", &[GIT, PAGES, KEYS, REPODATA, SECRETS]),
        // Keys that were brought along lie in secrets.
        ("signer", &[GIT, PAGES, HTTP, REPODATA, HOSTS, CALLS]),
        ("releaser", &[GIT, PAGES, KEYS, HOSTS, SECRETS]),
        ("web", &[GIT, KEYS, REPODATA, HOSTS, CALLS, SECRETS]),
    ];
    for (function, without) in functions {
        let package = format!("millrace-{function}");
        let mut tree =
            std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        tree.args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "-p",
            &package,
        ]);
        let said = tree
            .args(["--features", "lambda"])
            .current_dir(house())
            .output()
            .unwrap();
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
        let said = String::from_utf8(said.stdout).unwrap();
        let linked: BTreeSet<String> = said
            .lines()
            .filter_map(|line| line.split_once(" v"))
            .map(|(name, version)| format!("{name}@{version}"))
            .collect();
        let is_linked = |name: &str| {
            linked.iter().any(|one| {
                one.starts_with(&format!(
                    "{name}{}",
                    if name.contains('@') { "." } else { "@" }
                ))
            })
        };
        assert!(
            is_linked("millrace-lambda"),
            "{package} is no function of AWS Lambda:\n{said}"
        );
        let odd: Vec<&str> = without
            .iter()
            .chain([&NOBODYS])
            .flat_map(|names| names.iter().copied())
            .filter(|name| is_linked(name))
            .collect();
        assert!(odd.is_empty(), "{package} links {odd:?}");
    }
}

#[test]
fn the_house_has_the_rooms_of_its_plan_and_no_others() {
    let plan = BTreeMap::from([
        (
            "functions",
            "control core lambda listener log orchestrator releaser signer source store view web",
        ),
        ("runners", "arch cli host plugins sdk"),
        ("runners/plugins", "check rpm source"),
        ("infra", "cloud platforms xtask"),
        (
            "tests",
            "benches chaos cloud fixtures line simulation stories tidy world",
        ),
    ]);
    for (house, rooms) in plan {
        let below = |path: &PathBuf| {
            let mut rest = path.strip_prefix(house).ok()?.components();
            let room = rest.next()?.as_os_str().to_str()?.to_owned();
            rest.next().map(|_| room)
        };
        let found: BTreeSet<String> = files().iter().filter_map(below).collect();
        let wanted: BTreeSet<String> = rooms.split(' ').map(str::to_owned).collect();
        assert_eq!(found, wanted, "{house} has other folders than the plan");
    }
}

#[test]
fn every_architecture_of_the_line_is_a_file_that_says_the_same_of_each() {
    let names = Arch::ALL
        .iter()
        .flat_map(|arch| [Some(arch.as_str()), arch.multilib()])
        .flatten();
    let expected: BTreeSet<PathBuf> = names
        .map(|name| Path::new("runners/arch").join(format!("{name}.toml")))
        .collect();
    assert_eq!(
        files()
            .into_iter()
            .filter(|path| path.starts_with("runners/arch"))
            .collect::<BTreeSet<_>>(),
        expected
    );
    for path in expected {
        let table: toml::Table = std::fs::read_to_string(house().join(&path))
            .unwrap()
            .parse()
            .unwrap();
        let keys: Vec<&String> = table.keys().filter(|key| *key != "multilib_of").collect();
        let wanted = [
            "debian",
            "elf_class",
            "elf_machine",
            "emulator",
            "endianness",
            "oci",
            "rpm",
            "seccomp",
            "triplet",
        ];
        assert_eq!(keys, wanted, "{}", path.display());
        assert_eq!(
            table["rpm"].as_str(),
            path.file_stem().and_then(|name| name.to_str()),
            "{}",
            path.display()
        );
    }
}

#[test]
fn the_rules_know_nothing_of_the_outside() {
    let manifest: toml::Table = std::fs::read_to_string(house().join("functions/core/Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let needs: Vec<&String> = manifest["dependencies"]
        .as_table()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(
        needs,
        ["serde", "serde_json", "sha2", "thiserror", "toml"],
        "a new dependency of the rules must be pure"
    );
    for (path, text) in sources().filter(|(path, _)| path.starts_with("functions/core/src")) {
        for word in [
            "async fn",
            "std::fs",
            "std::net",
            "std::process",
            "SystemTime",
            "Instant::now",
        ] {
            assert!(
                !text.contains(word),
                "{}: `{word}` has no place in the rules",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_begins_with_what_it_is_for_and_is_about_one_thing() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "{} does not begin with a sentence on what it is for",
            path.display()
        );
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines; what is the second thing that it does?",
            path.display()
        );
    }
}

#[test]
fn every_public_item_says_what_it_is_for() {
    let is_shipped = |path: &Path| {
        let shipped = ["functions", "runners", "infra"];
        let is_for_tests = path.components().any(|part| {
            let part = part.as_os_str().to_str().unwrap();
            matches!(part.trim_end_matches(".rs"), "tests" | "testing")
        });
        shipped.iter().any(|top| path.starts_with(top)) && !is_for_tests
    };
    let found: Vec<String> = sources()
        .filter(|(path, _)| is_shipped(path))
        .flat_map(|(path, text)| docs::undocumented(&path, &text))
        .collect();
    assert!(
        found.is_empty(),
        "public items without a doc:\n{}",
        found.join("\n")
    );
}

#[test]
fn no_two_files_take_items_from_each_other() {
    let is_root = |path: &&PathBuf| path.ends_with("lib.rs") || path.ends_with("main.rs");
    let mut found = Vec::new();
    for root in files().iter().filter(is_root) {
        let circles = circles::circles(&house(), root);
        found.extend(circles.iter().map(|circle| circle.lines().join("\n")));
    }
    let told = found.join("\n\n");
    let count = found.len();
    assert!(
        found.is_empty(),
        "{count} circles of files: move what two of them share into a file below both\n\n{told}"
    );
}

#[test]
fn a_circle_of_files_is_found_and_told_with_its_imports() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    // `lib` hands names on, `inner` knows its parent, and tests know everybody: none of that is a circle.
    write(
        "src/lib.rs",
        "mod one;\nmod two;\nmod three;\npub use one::One;\n",
    );
    write(
        "src/one.rs",
        "mod inner;\nuse crate::two::Two;\npub struct One(Two, inner::Inner);\n",
    );
    write(
        "src/one/inner.rs",
        "use super::One;\npub struct Inner(Box<One>);\n",
    );
    write(
        "src/two.rs",
        "pub struct Two;\n#[cfg(test)]\nuse crate::One;\n",
    );
    write("src/three.rs", "pub struct Three(crate::One);\n");
    let root = Path::new("src/lib.rs");
    assert_eq!(circles::circles(folder.path(), root), []);
    // By a path through the face of the crate, and without a `use`.
    write("src/two.rs", "pub struct Two(Vec<crate::One>);\n");
    let found = circles::circles(folder.path(), root);
    let lines: Vec<&[String]> = found.iter().map(circles::Circle::lines).collect();
    assert_eq!(
        lines,
        [[
            "src/one.rs takes Two from src/two.rs",
            "src/two.rs takes One from src/one.rs"
        ]]
    );
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_switched_off() {
    let words = [
        "todo!(",
        "unimplemented!(",
        "FIX\u{4d}E",
        "XX\u{58}",
        "TOD\u{4f}:",
        "TOD\u{4f}(",
        "#[ignor\u{65}",
    ];
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let found = words.iter().find(|word| line.contains(**word));
            assert!(
                found.is_none() || path.ends_with("tidy/main.rs"),
                "{}:{}: {line}",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn the_project_names_no_machine() {
    let folders = [
        "/wor\u{6b}/main",
        "/roo\u{74}/.",
        "share\u{64}/facts",
        "share\u{64}/seed",
        "share\u{64}/prototypes",
    ];
    for path in files() {
        let Ok(text) = std::fs::read_to_string(house().join(&path)) else {
            continue;
        };
        for folder in folders {
            assert!(!text.contains(folder), "{} names {folder}", path.display());
        }
    }
}

#[test]
fn the_readme_has_what_a_newcomer_looks_for() {
    let readme = std::fs::read_to_string(house().join("README.md")).unwrap();
    for wanted in [
        "cargo xtask demo",
        "cargo xtask test",
        "## For packagers",
        "## For release engineers",
        "## For plugin authors",
        "## For contributors",
    ] {
        assert!(readme.contains(wanted), "README.md lacks `{wanted}`");
    }
}

#[test]
fn every_crate_says_what_it_is() {
    for path in files()
        .into_iter()
        .filter(|path| path.ends_with("Cargo.toml") && path.components().count() > 1)
    {
        let manifest: toml::Table = std::fs::read_to_string(house().join(&path))
            .unwrap()
            .parse()
            .unwrap();
        let description = manifest["package"]
            .get("description")
            .and_then(toml::Value::as_str)
            .unwrap_or_default();
        assert!(
            description.len() > 10,
            "{} has no description",
            path.display()
        );
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{} is not held to the workspace's lints",
            path.display()
        );
    }
}
