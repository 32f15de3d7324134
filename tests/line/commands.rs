//! What the command line promises to scripts: exit statuses, JSON, and what a restart leaves as it was.

use crate::specs::{empty, files};
use millrace_tests::up::{Machine, Up};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A build whose tasks nobody takes.
fn waiting_build(up: &mut Up) -> String {
    up.push_new("idle", &files(&empty("idle", "BuildArch: noarch", "true")));
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(build) = up.builds().first() {
            return build["build"].as_str().or(build["id"].as_str()).unwrap().to_owned();
        }
        assert!(Instant::now() < until, "no build:\n{}", up.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_not_there_has_an_exit_status_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let build = waiting_build(&mut up);
    let not_there: [&[&str]; 4] = [
        &["watch", "--push", "000000000000"],
        &["watch", "000000000000"],
        &["logs", &build, "source", "--attempt", "99"],
        &["logs", &build, "no-such-task"],
    ];
    for words in not_there {
        let output = up.try_millrace(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{words:?}: {said}");
        assert!(!said.trim().is_empty(), "{words:?} says nothing");
    }
    // That an attempt has not begun is no mistake.
    assert_eq!(up.try_millrace(&["logs", &build, "source"]).status.code(), Some(0));
}

#[test]
fn a_build_that_was_cancelled_goes_on_as_soon_as_somebody_wants_it_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let build = waiting_build(&mut up);
    assert!(up.millrace(&["cancel", &build]).contains("is cancelled"));
    let told = up.millrace(&["--json", "retry", &build]);
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["state"], "running");
    let refused = up.try_millrace(&["retry", &build, "source"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(4) && said.contains("task source is waiting: only what failed"), "{said}");
    assert_eq!(up.try_millrace(&["retry", &build, "no-such-task"]).status.code(), Some(3));
}

#[test]
fn a_line_says_at_its_start_where_it_is_as_json_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start_without_runner(folder.path());
    let said: Vec<Value> = up.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [said] = said.as_slice() else { panic!("{}", up.log()) };
    assert_eq!(said["url"], up.url(""));
    assert_eq!(said["webhooks"], up.url("/hooks/gitea"));
    assert_eq!(said["runner_here"], false);
}

#[test]
fn a_plugin_that_somebody_added_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let own = Machine::here().plugins.join("examples/no-bundled.wasm");
    up.millrace(&["plugin", "add", "check", own.to_str().unwrap()]);
    let mine = up.millrace(&["plugin", "list"]);
    up.kill();
    up.go_on();
    assert_eq!(up.millrace(&["plugin", "list"]), mine);
    assert!(up.log().contains("the plugin check stays the one that was added"), "{}", up.log());
}

#[test]
fn whoever_waits_for_a_line_that_is_not_up_is_told_and_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let build = waiting_build(&mut up);
    let watch = |up: &Up, for_ms: u64| {
        let program = Machine::here().program;
        let mut watch = Command::new("timeout");
        watch.arg(format!("{}.{:03}", for_ms / 1000, for_ms % 1000)).arg(program).arg("--state").arg(up.state());
        let output = watch.args(["watch", &build]).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = watch(&up, 1500);
    assert_eq!((code, said.contains("no `millrace up` works")), (Some(124), false), "{said}");
    up.kill();
    let (code, said) = watch(&up, 1500);
    assert_eq!((code, said.matches("no `millrace up` works").count()), (Some(124), 1), "{said}");
}

#[test]
fn an_ordinary_user_is_told_that_a_runner_needs_root_before_it_takes_a_task() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    // The program may lie where only root looks; a copy lies where everybody does.
    let program = folder.path().join("millrace");
    std::fs::copy(Machine::here().program, &program).unwrap();
    let mut up = Command::new("setpriv");
    up.args(["--reuid=65534", "--clear-groups"]).arg(&program).arg("--state").arg(folder.path().join("state"));
    let output = up.args(["up", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("a runner needs root") && said.contains("--no-runner"), "{said}");
}
