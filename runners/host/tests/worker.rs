//! A runner and its line: leases, logs, answers, and what happens when either of them goes away.
#![allow(clippy::unwrap_used)]

mod world;

use millrace_core::task::Outcome;
use millrace_host::worker::{WorkerError, run};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use world::{Line, Running, Shared, config, line_with, start, until};

fn outcomes(line: &Shared) -> Vec<Outcome> {
    line.lock()
        .unwrap()
        .reports
        .iter()
        .map(|report| report.outcome.clone())
        .collect()
}

/// Answers under a lease that was over.
fn answered_in_vain(line: &Shared) -> Vec<Outcome> {
    line.lock()
        .unwrap()
        .refused
        .iter()
        .map(|report| report.outcome.clone())
        .collect()
}

fn handed_back() -> Outcome {
    Outcome::HandedBack {
        reason: "the runner was stopped".to_owned(),
    }
}

#[test]
fn a_task_is_done_from_lease_to_answer() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("publish")));
    let mut runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    runner.stop();
    let outcomes = outcomes(&line);
    let [Outcome::Passed { artifacts, .. }] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert_eq!(
        line.lock().unwrap().blobs[&artifacts[0].digest],
        b"the result"
    );
    assert_eq!(
        std::fs::read_dir(state.path().join("tasks"))
            .unwrap()
            .count(),
        0,
        "the task's folder is gone"
    );
}

#[test]
fn the_log_is_whole_when_the_answer_comes() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("log")));
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    let log = String::from_utf8(line.lock().unwrap().log.clone()).unwrap();
    assert_eq!(
        log,
        "==> a part\na line\ntree/x.spec:12: warning: a finding\n"
    );
}

#[test]
fn a_failure_stands_at_the_end_of_the_log() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("fail")));
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    assert_eq!(
        String::from_utf8(line.lock().unwrap().log.clone()).unwrap(),
        "==> failed\nas asked\n"
    );
}

#[test]
fn a_line_that_is_away_is_waited_for() {
    let (state, (url, line)) = (
        tempfile::tempdir().unwrap(),
        start(Line {
            away_for: 4,
            ..line_with("fetch")
        }),
    );
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    assert_eq!(
        outcomes(&line),
        [Outcome::Passed {
            summary: "an input".to_owned(),
            artifacts: Vec::new()
        }]
    );
}

#[test]
fn a_stopped_runner_hands_its_task_back_at_once() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("loop")));
    let mut runner = Running::start(config(&url, state.path()));
    until("the task is taken", || {
        line.lock().unwrap().offers.is_empty()
    });
    until("it works on it", || {
        std::fs::read_dir(state.path().join("tasks"))
            .unwrap()
            .count()
            == 1
    });
    let began = Instant::now();
    runner.stop();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(outcomes(&line), [handed_back()]);
}

#[test]
fn a_runner_that_waits_for_work_stops_at_once() {
    let (state, (url, _line)) = (tempfile::tempdir().unwrap(), start(Line::default()));
    let mut runner = Running::start(config(&url, state.path()));
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    runner.stop();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_lost_lease_ends_the_task_and_nobody_is_answered() {
    let (state, (url, line)) = (
        tempfile::tempdir().unwrap(),
        start(Line {
            lease_lost: true,
            ..line_with("publish")
        }),
    );
    let mut runner = Running::start(config(&url, state.path()));
    until("the plugin works, and is told", || {
        line.lock().unwrap().said_too_late > 0
    });
    until("it is dropped", || {
        std::fs::read_dir(state.path().join("tasks")).is_ok_and(|tasks| tasks.count() == 0)
    });
    runner.stop();
    assert_eq!(
        (outcomes(&line), answered_in_vain(&line)),
        (Vec::new(), Vec::new())
    );
}

#[test]
fn a_lease_that_is_lost_while_the_plugin_works_ends_it() {
    let (state, (url, line)) = (
        tempfile::tempdir().unwrap(),
        start(line_with("print-and-loop")),
    );
    let mut runner = Running::start(config(&url, state.path()));
    until("it prints", || !line.lock().unwrap().log.is_empty());
    line.lock().unwrap().lease_lost = true;
    let began = Instant::now();
    until("it is dropped", || {
        std::fs::read_dir(state.path().join("tasks")).is_ok_and(|tasks| tasks.count() == 0)
    });
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    runner.stop();
    assert_eq!(
        (outcomes(&line), answered_in_vain(&line)),
        (Vec::new(), Vec::new())
    );
}

#[test]
fn a_plugin_that_came_damaged_is_not_run() {
    let mut line = line_with("nothing");
    let plugin = line.offers[0].work.plugin;
    line.blobs.insert(plugin, b"something else".to_vec());
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line));
    let mut runner = Running::start(config(&url, state.path()));
    until("it is fetched again", || line.lock().unwrap().downloads > 1);
    runner.stop();
    assert_eq!(outcomes(&line), [handed_back()]);
    assert_eq!(
        std::fs::read_dir(state.path().join("plugins"))
            .unwrap()
            .count(),
        1,
        "only the key: it was not compiled"
    );
}

#[test]
fn a_runner_without_a_valid_token_says_what_to_do() {
    let (state, (url, _line)) = (tempfile::tempdir().unwrap(), start(Line::default()));
    let config = millrace_host::worker::WorkerConfig {
        token: "wrong".to_owned(),
        ..config(&url, state.path())
    };
    let error = run(config, Arc::new(AtomicBool::new(false))).unwrap_err();
    assert!(matches!(error, WorkerError::Unauthorized(_)));
    assert!(error.to_string().contains("millrace runner add"), "{error}");
}

#[test]
fn what_a_killed_runner_left_is_removed_at_the_start() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("nothing")));
    std::fs::create_dir_all(state.path().join("tasks/old-1/work")).unwrap();
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    assert!(!state.path().join("tasks/old-1").exists());
}

#[test]
fn two_runners_do_not_share_a_folder() {
    let (state, (url, line)) = (
        tempfile::tempdir().unwrap(),
        start(line_with("print-and-loop")),
    );
    let mut runner = Running::start(config(&url, state.path()));
    until("it prints", || !line.lock().unwrap().log.is_empty());
    let tasks = || {
        std::fs::read_dir(state.path().join("tasks"))
            .unwrap()
            .count()
    };
    let error = run(config(&url, state.path()), Arc::new(AtomicBool::new(false))).unwrap_err();
    assert!(matches!(error, WorkerError::InUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("in use by the process {}:", std::process::id())),
        "{error}"
    );
    assert_eq!(tasks(), 1, "the task of the first one is gone");
    runner.stop();
    Running::start(config(&url, state.path())).stop();
}

#[test]
fn an_input_that_does_not_fit_is_not_fetched() {
    let mut line = line_with("fetch");
    line.offers[0].work.inputs[0].size = 1 << 50;
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line));
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    let outcomes = outcomes(&line);
    let [Outcome::Failed(failure)] = outcomes.as_slice() else {
        panic!("{outcomes:?}")
    };
    assert!(
        failure.reason.contains("no space left for `in/here`"),
        "{failure:?}"
    );
    assert_eq!(line.lock().unwrap().downloads, 1, "the plugin alone");
}
