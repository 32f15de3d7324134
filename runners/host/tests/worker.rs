//! A runner and its line: leases, logs, answers, and what happens when either of them goes away.
#![allow(clippy::unwrap_used)]

mod world;

use millrace_core::task::{Blame, Failure, Outcome};
use millrace_host::worker::{WorkerError, run};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use world::{Line, Running, Shared, config, line_with, start, until};

fn outcomes(line: &Shared) -> Vec<Outcome> {
    line.lock().unwrap().reports.iter().map(|report| report.outcome.clone()).collect()
}

#[test]
fn a_task_is_done_from_lease_to_answer() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("publish")));
    let mut runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    runner.stop();
    let outcomes = outcomes(&line);
    let [Outcome::Passed { artifacts, .. }] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(line.lock().unwrap().blobs[&artifacts[0].digest], b"the result");
    assert_eq!(std::fs::read_dir(state.path().join("tasks")).unwrap().count(), 0, "the task's folder is gone");
}

#[test]
fn the_log_is_whole_when_the_answer_comes() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("log")));
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    let log = String::from_utf8(line.lock().unwrap().log.clone()).unwrap();
    assert_eq!(log, "==> a part\na line\ntree/x.spec:12: warning: a finding\n");
}

#[test]
fn a_failure_stands_at_the_end_of_the_log() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("fail")));
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    assert_eq!(String::from_utf8(line.lock().unwrap().log.clone()).unwrap(), "==> failed\nas asked\n");
}

#[test]
fn a_line_that_is_away_is_waited_for() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(Line { away_for: 4, ..line_with("fetch") }));
    let _runner = Running::start(config(&url, state.path()));
    until("an answer", || !outcomes(&line).is_empty());
    assert_eq!(outcomes(&line), [Outcome::Passed { summary: "an input".to_owned(), artifacts: Vec::new() }]);
}

#[test]
fn a_stopped_runner_hands_its_task_back_at_once() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("loop")));
    let mut runner = Running::start(config(&url, state.path()));
    until("the task is taken", || line.lock().unwrap().offers.is_empty());
    until("it works on it", || std::fs::read_dir(state.path().join("tasks")).unwrap().count() == 1);
    let began = Instant::now();
    runner.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let failure = Failure { blame: Blame::Environment, reason: "the runner was stopped".to_owned() };
    assert_eq!(outcomes(&line), [Outcome::Failed(failure)]);
}

#[test]
fn a_runner_that_waits_for_work_stops_at_once() {
    let (state, (url, _line)) = (tempfile::tempdir().unwrap(), start(Line::default()));
    let mut runner = Running::start(config(&url, state.path()));
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    runner.stop();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn a_lost_lease_ends_the_task_and_nobody_is_answered() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(Line { lease_lost: true, ..line_with("publish") }));
    let mut runner = Running::start(config(&url, state.path()));
    until("the task is taken", || line.lock().unwrap().offers.is_empty());
    until("it is dropped", || std::fs::read_dir(state.path().join("tasks")).is_ok_and(|tasks| tasks.count() == 0));
    runner.stop();
    assert_eq!(outcomes(&line), []);
}

#[test]
fn a_lease_that_is_lost_while_the_plugin_works_ends_it() {
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line_with("print-and-loop")));
    let mut runner = Running::start(config(&url, state.path()));
    until("it prints", || !line.lock().unwrap().log.is_empty());
    line.lock().unwrap().lease_lost = true;
    let began = Instant::now();
    until("it is dropped", || std::fs::read_dir(state.path().join("tasks")).is_ok_and(|tasks| tasks.count() == 0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    runner.stop();
    assert_eq!(outcomes(&line), []);
}

#[test]
fn a_plugin_that_came_damaged_is_not_run() {
    let mut line = line_with("nothing");
    let plugin = line.offers[0].work.plugin;
    line.blobs.insert(plugin, b"something else".to_vec());
    let (state, (url, line)) = (tempfile::tempdir().unwrap(), start(line));
    let mut runner = Running::start(config(&url, state.path()));
    until("the task is taken", || line.lock().unwrap().offers.is_empty());
    std::thread::sleep(Duration::from_millis(500));
    runner.stop();
    assert!(matches!(outcomes(&line).as_slice(), [Outcome::Failed(Failure { blame: Blame::Environment, .. })]));
}

#[test]
fn a_runner_without_a_valid_token_says_what_to_do() {
    let (state, (url, _line)) = (tempfile::tempdir().unwrap(), start(Line::default()));
    let config = millrace_host::worker::WorkerConfig { token: "wrong".to_owned(), ..config(&url, state.path()) };
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
