//! `kill -9` of the whole line at random moments, and of a runner.

use crate::specs::{empty, files};
use millrace_core::protocol::Report;
use millrace_core::task::{LeaseId, Outcome};
use millrace_tests::up::{Up, processes_with, run, seconds_of_this_run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// Times that the line is killed while it works.
const KILLS: usize = 8;

#[test]
fn every_build_still_ends_and_nothing_is_released_twice() {
    let given = std::env::var("MILLRACE_SEED")
        .ok()
        .map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("MILLRACE_SEED={seed} gives the line the same moments again");
    let mut chance = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let names = ["one", "two", "three"];
    let commits =
        names.map(|name| up.push_new(name, &files(&empty(name, "BuildArch: noarch", "sleep 1"))));
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(chance.u64(50..2500)));
        up.kill();
        up.go_on();
    }
    let mut expected = Vec::new();
    for (name, commit) in names.iter().zip(&commits) {
        let (told, released) = up.watch(commit);
        // A task that was killed three times is quarantined: that is an end too, and says so.
        assert!(
            released || told.contains("leases ended without a verdict"),
            "{name}, seed {seed}:\n{told}\n{}",
            up.log()
        );
        expected.extend(released.then(|| format!("{name}-1-1.t9.noarch")));
    }
    let mut seen = BTreeMap::new();
    for build in up.builds() {
        *seen
            .entry(build["package"].as_str().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    assert_eq!(
        seen,
        names.map(|name| (name.to_owned(), 1)).into(),
        "seed {seed}: a push became two builds, or none"
    );
    assert!(
        !expected.is_empty(),
        "seed {seed}: not one build was released:\n{}",
        up.log()
    );
    expected.sort();
    let (generation, packages) = in_the_repository(&up);
    assert_eq!(
        packages, expected,
        "seed {seed}: not each package is there once"
    );
    // The first generation is the empty one that `platform add` makes; each release makes one more.
    assert_eq!(
        generation,
        1 + expected.len(),
        "seed {seed}: releases and generations are not as many"
    );
}

/// The number of the generation that everybody reads, and the packages that it has for this machine, sorted.
fn in_the_repository(up: &Up) -> (usize, Vec<String>) {
    let base = format!("/repo/test-9/{}/os", std::env::consts::ARCH);
    let (status, repomd) = up.http("GET", &format!("{base}/repodata/repomd.xml"), "", "");
    assert_eq!(status, 200, "{repomd}");
    let between = |text: &str, begin: &str, end: &str| {
        text.split(begin)
            .skip(1)
            .map(|rest| rest.split(end).next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let generation = between(&repomd, "<revision>", "</revision>")[0]
        .parse()
        .unwrap();
    let primary = between(&repomd, "<location href=\"", "\"")
        .into_iter()
        .find(|href| href.contains("primary.xml"))
        .unwrap();
    let script =
        r#"curl -fsS "$1" | case "$1" in *.zst) zstd -dc ;; *.gz) gzip -dc ;; *) cat ;; esac"#;
    let xml = run(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(up.url(&format!("{base}/{primary}"))));
    let files = between(&xml, "<location href=\"", "\"");
    let mut packages: Vec<String> = files
        .iter()
        .map(|href| {
            href.rsplit('/')
                .next()
                .unwrap()
                .trim_end_matches(".rpm")
                .to_owned()
        })
        .collect();
    packages.sort();
    (generation, packages)
}

/// Asks until it is so.
fn wait_for<T>(what: &str, up: &Up, ask: impl FnMut() -> Option<T>) -> T {
    millrace_tests::wait::wait_for(|| format!("{what}:\n{}", up.log()), ask)
}

fn rpm_task(up: &Up) -> Option<(Value, Value)> {
    let build = up.builds().into_iter().next()?;
    let task = build["pipeline"]
        .as_array()?
        .iter()
        .find(|task| task["step"] == "rpm")?
        .clone();
    Some((build, task))
}

#[test]
fn of_a_runner_that_was_killed_nothing_is_left_once_the_next_one_has_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    up.runner("only");
    let nap = seconds_of_this_run(16);
    up.push_new(
        "slow",
        &files(&empty("slow", "BuildArch: noarch", &format!("sleep {nap}"))),
    );
    wait_for("the build", &up, || {
        (processes_with(&nap) > 0).then_some(())
    });
    let tasks = folder.path().join("only/runner/tasks");
    let process = up.kill_runner("only");
    wait_for("the end of what it ran", &up, || {
        (processes_with(&nap) == 0).then_some(())
    });
    assert!(
        tasks.read_dir().unwrap().count() > 0,
        "there is nothing to be swept"
    );
    up.start_runner("only");
    let groups = || {
        run(Command::new("find").args([
            "/sys/fs/cgroup",
            "-name",
            &format!("millrace-{process}-*"),
        ]))
    };
    wait_for("a swept machine", &up, || {
        (tasks.read_dir().unwrap().count() == 0 && groups().is_empty()).then_some(())
    });
    let marker = folder.path().display().to_string();
    let mounts = run(Command::new("sh")
        .args([
            "-c",
            "cat /proc/[0-9]*/mountinfo 2>/dev/null | grep -F \"$0\" || :",
        ])
        .arg(&marker));
    assert_eq!(mounts, "", "a mount is left");
}

#[test]
fn a_runner_killed_while_building_is_replaced_and_its_answer_comes_too_late() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let token = up.runner("first");
    let marker = folder.path().join("first").display().to_string();
    let nap = seconds_of_this_run(15);
    let commit = up.push_new(
        "slow",
        &files(&empty("slow", "BuildArch: noarch", &format!("sleep {nap}"))),
    );
    wait_for("the build", &up, || {
        (processes_with(&nap) > 0).then_some(())
    });
    let (build, task) = rpm_task(&up).unwrap();
    assert_eq!(
        (task["state"].as_str(), task["runner"].as_str()),
        (Some("running"), Some("first"))
    );
    up.kill_runner("first");
    wait_for("the end of what it ran", &up, || {
        (processes_with(&nap) == 0).then_some(())
    });
    assert_eq!(
        processes_with(&marker),
        0,
        "something of the runner is left"
    );
    up.runner("second");
    let again = wait_for("the second lease", &up, || {
        let (_, task) = rpm_task(&up)?;
        (task["runner"] == "second").then_some(task)
    });
    let hows: Vec<&str> = again["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["how"].as_str().unwrap())
        .collect();
    assert_eq!(hows, ["lost", "running"]);
    let report = Report {
        lease_id: LeaseId {
            build: build["id"].as_str().unwrap().parse().unwrap(),
            task: task["task"].as_str().unwrap().parse().unwrap(),
            number: serde_json::from_value(task["attempt"].clone()).unwrap(),
        },
        outcome: Outcome::Passed {
            summary: "too late".to_owned(),
            artifacts: Vec::new(),
        },
        roots: None,
    };
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let (status, answer) = up.http(
        "POST",
        "/runner/v1/report",
        &headers,
        &serde_json::to_string(&report).unwrap(),
    );
    assert_eq!(status, 409, "{answer}");
    let (_, task) = rpm_task(&up).unwrap();
    assert_eq!(
        (task["state"].as_str(), task["runner"].as_str()),
        (Some("running"), Some("second")),
        "the late answer counted"
    );
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
}
