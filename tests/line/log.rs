//! Who has one build's id follows it through the log of every part of the line.

use crate::specs::{files, library};
use millrace_tests::up::{TestSetup, Up, platform};
use serde_json::Value;
use std::collections::BTreeSet;

/// Whether an event, or a span that it is in, has this id under this name.
fn is_of(event: &Value, name: &str, id: &str) -> bool {
    let spans = event["spans"].as_array().into_iter().flatten();
    spans
        .chain([&event["fields"]])
        .any(|holder| holder[name] == id)
}

/// The crates that log something about what has this id, and what they say.
fn story(log: &[Value], name: &str, id: &str) -> (BTreeSet<String>, Vec<String>) {
    let of_it: Vec<&Value> = log.iter().filter(|event| is_of(event, name, id)).collect();
    let crate_of = |event: &&Value| {
        let target = event["target"].as_str().unwrap();
        target.split("::").next().unwrap().to_owned()
    };
    let words = |event: &&Value| event["fields"]["message"].as_str().unwrap().to_owned();
    (
        of_it.iter().map(crate_of).collect(),
        of_it.iter().map(words).collect(),
    )
}

#[test]
fn a_build_is_followed_by_its_id_through_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let machine = TestSetup::here();
    let mut up = Up::start_with(
        folder.path(),
        &platform(&machine.platform, ""),
        &["--log", "json"],
    );
    let commit = up.push_new("tally", &files(&library("2.6")));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
    let build = &up.builds()[0];
    let (build, push) = (
        build["id"].as_str().unwrap(),
        build["push"].as_str().unwrap(),
    );
    let log: Vec<Value> = up
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let (crates, words) = story(&log, "build", build);
    for part in [
        "millrace_orchestrator",
        "millrace_host",
        "millrace_signer",
        "millrace_releaser",
    ] {
        assert!(crates.contains(part), "{part} is not among {crates:?}");
    }
    let mut order = words.iter();
    for what in [
        "a build is planned",
        "a task is leased",
        "the task begins",
        "a task is answered",
        "packages are signed",
        "packages are released",
    ] {
        assert!(
            order.any(|said| said == what),
            "`{what}` is missing, or comes too early: {words:#?}"
        );
    }
    let (crates, words) = story(&log, "push", push);
    for part in [
        "millrace_listener",
        "millrace_source",
        "millrace_orchestrator",
    ] {
        assert!(crates.contains(part), "{part} is not among {crates:?}");
    }
    assert_eq!(
        words,
        [
            "the delivery is answered",
            "a push is fetched",
            "a build is planned"
        ]
    );
    let accepted = &log.iter().find(|event| is_of(event, "push", push)).unwrap()["spans"][0];
    assert_eq!(accepted["forge"], "gitea");
    assert!(accepted["delivery"].is_string(), "{accepted}");
}
