//! What the command line promises to scripts: exit statuses, JSON, and what a restart leaves as it was.

use crate::specs::{empty, files};
use millrace_tests::up::{TestSetup, Up, processes_with, seconds_of_this_run};
use millrace_tests::wait::{wait_for, wait_until};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A build whose tasks nobody takes.
fn waiting_build(up: &mut Up) -> String {
    up.push_new("idle", &files(&empty("idle", "BuildArch: noarch", "true")));
    wait_for(
        || format!("a build:\n{}", up.log()),
        || {
            let build = up.builds().into_iter().next()?;
            let id = build["build"].as_str().or(build["id"].as_str());
            Some(id.unwrap().to_owned())
        },
    )
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
    assert_eq!(
        up.try_millrace(&["logs", &build, "source"]).status.code(),
        Some(0)
    );
}

#[test]
fn a_build_that_was_cancelled_goes_on_as_soon_as_somebody_wants_it_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let build = waiting_build(&mut up);
    assert!(up.millrace(&["cancel", &build]).contains("is cancelled"));
    let told = up.millrace(&["--json", "retry", &build]);
    assert_eq!(
        serde_json::from_str::<Value>(&told).unwrap()["state"],
        "running"
    );
    let refused = up.try_millrace(&["retry", &build, "source"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(4)
            && said.contains("task source is waiting: only a task that failed"),
        "{said}"
    );
    assert_eq!(
        up.try_millrace(&["retry", &build, "no-such-task"])
            .status
            .code(),
        Some(3)
    );
}

/// Waits until a task of the only build is in this state; the build.
fn build_with(up: &Up, step: &str, state: &str) -> Value {
    wait_for(
        || format!("{step} to be {state}: {:?}\n{}", up.builds(), up.log()),
        || {
            let build = up.builds().into_iter().next()?;
            let tasks = build["pipeline"].as_array()?;
            let found = tasks
                .iter()
                .any(|task| task["step"] == step && task["state"] == state);
            found.then_some(build)
        },
    )
}

#[test]
fn a_cancelled_task_and_its_sandbox_are_gone_within_ten_seconds_though_it_prints_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let nap = seconds_of_this_run(4711);
    up.push_new(
        "sleeps",
        &files(&empty(
            "sleeps",
            "BuildArch: noarch",
            &format!("sleep {nap} & sleep {nap}"),
        )),
    );
    let build = build_with(&up, "rpm", "running");
    wait_until(
        || format!("the begin of the build:\n{}", up.log()),
        || processes_with(&nap) >= 2,
    );
    // All that is said is sent by then, so that only a renewal can tell the runner.
    std::thread::sleep(Duration::from_secs(2));
    let cancelled = Instant::now();
    up.millrace(&["cancel", build["id"].as_str().unwrap()]);
    while processes_with(&nap) > 0 {
        assert!(
            cancelled.elapsed() < Duration::from_secs(10),
            "{} are left:\n{}",
            processes_with(&nap),
            up.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // And the runner is free for the next.
    let commit = up.push_new("next", &files(&empty("next", "BuildArch: noarch", "true")));
    assert!(up.watch(&commit).1, "{}", up.log());
}

#[test]
fn a_build_is_cloned_with_other_options_and_a_scratch_build_is_released_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let first = up.push_new(
        "picky",
        &files(&empty(
            "picky",
            "BuildArch: noarch",
            "echo it is %{?flavour}%{!?flavour:plain}",
        )),
    );
    assert!(up.watch(&first).1, "{}", up.log());
    up.commit("picky", &[("README", "more")]);
    let build = up
        .builds()
        .into_iter()
        .find(|build| build["commit"] == first.as_str())
        .unwrap();
    let id = build["id"].as_str().unwrap();
    let told = up.millrace(&[
        "clone",
        id,
        "--define",
        "flavour sweet",
        "--scratch",
        "--priority",
        "urgent",
        "--watch",
    ]);
    assert!(told.contains("passed after"), "{told}");
    let cloned = up
        .builds()
        .into_iter()
        .find(|build| build["scratch"] == true)
        .unwrap();
    assert_eq!(
        (&cloned["commit"], &cloned["priority"]),
        (&build["commit"], &Value::from("urgent"))
    );
    let log = up.millrace(&["logs", cloned["id"].as_str().unwrap(), "rpm@x86_64"]);
    assert!(log.contains("it is sweet"), "{log}");
    let releases = up.millrace(&["release", "list", build["platform"].as_str().unwrap()]);
    assert!(
        !releases.contains(cloned["id"].as_str().unwrap()),
        "{releases}"
    );
    // Any commit of the history may be built again.
    let told = up.millrace(&["build", "picky", "--commit", &first, "--scratch", "--watch"]);
    assert!(
        told.contains(&first[..12]) && told.contains("passed after"),
        "{told}"
    );
    let refused = up.try_millrace(&["clone", id, "--arch", "s390x", "--watch"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        refused.status.code() == Some(1) && said.contains("has no s390x"),
        "{said}"
    );
}

#[test]
fn a_draining_runner_ends_and_the_queue_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    up.push_new(
        "sleeps",
        &files(&empty("sleeps", "BuildArch: noarch", "sleep 900")),
    );
    let build = build_with(&up, "source", "waiting");
    let nobody =
        "no runner is there: `millrace up` brings its own, `millrace runner add` lets others in";
    wait_until(
        || format!("`{nobody}` in the queue: {}", up.millrace(&["queue"])),
        || up.millrace(&["queue"]).contains(nobody),
    );
    up.runner("one");
    build_with(&up, "rpm", "running");
    let queue: Value = serde_json::from_str(&up.http("GET", "/api/v1/queue", "", "").1).unwrap();
    assert_eq!(
        (
            &queue["runners"][0]["runner"],
            &queue["runners"][0]["state"]
        ),
        (&"one".into(), &"working".into()),
        "{queue}"
    );
    up.millrace(&["runner", "drain", "one", "--hand-back"]);
    up.runner_ends("one");
    let build = up
        .builds()
        .into_iter()
        .find(|other| other["id"] == build["id"])
        .unwrap();
    let rpm = build["pipeline"]
        .as_array()
        .unwrap()
        .iter()
        .find(|task| task["step"] == "rpm")
        .unwrap()
        .clone();
    assert_eq!(
        (&rpm["state"], &rpm["attempts"][0]["how"]),
        (&"waiting".into(), &"handed-back".into()),
        "{rpm}"
    );
    assert!(up.millrace(&["runner", "list"]).contains("one is draining"));
}

#[test]
fn a_line_says_at_its_start_where_it_is_as_json_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start_without_runner(folder.path());
    let said: Vec<Value> = up
        .log()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let [said] = said.as_slice() else {
        panic!("{}", up.log())
    };
    assert_eq!(said["url"], up.url(""));
    assert_eq!(said["webhooks"], up.url("/hooks/gitea"));
    assert_eq!(said["runner_here"], false);
}

#[test]
fn a_plugin_that_somebody_added_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let own = TestSetup::here().plugins.join("examples/no-bundled.wasm");
    up.millrace(&["plugin", "add", "check", own.to_str().unwrap()]);
    let mine = up.millrace(&["plugin", "list"]);
    up.kill();
    up.go_on();
    assert_eq!(up.millrace(&["plugin", "list"]), mine);
    assert!(
        up.log().contains("plugin check stays as somebody added it"),
        "{}",
        up.log()
    );
}

#[test]
fn whoever_waits_for_a_line_that_is_not_up_is_told_and_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let build = waiting_build(&mut up);
    let watch = |up: &Up, for_ms: u64| {
        let program = TestSetup::here().program;
        let mut watch = Command::new("timeout");
        watch
            .arg(format!("{}.{:03}", for_ms / 1000, for_ms % 1000))
            .arg(program)
            .arg("--state")
            .arg(up.state());
        let output = watch
            .args(["watch", &build])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = watch(&up, 1500);
    assert_eq!(
        (code, said.contains("no `millrace up` runs")),
        (Some(124), false),
        "{said}"
    );
    up.kill();
    let (code, said) = watch(&up, 1500);
    assert_eq!(
        (code, said.matches("no `millrace up` runs").count()),
        (Some(124), 1),
        "{said}"
    );
}

#[test]
fn an_ordinary_user_without_ids_is_told_what_a_runner_needs_before_the_line_takes_a_task() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    // The program may lie where only root looks; a copy lies where everybody does.
    let program = folder.path().join("millrace");
    std::fs::copy(TestSetup::here().program, &program).unwrap();
    let mut up = Command::new("setpriv");
    up.args(["--reuid=65534", "--clear-groups"])
        .arg(&program)
        .arg("--state")
        .arg(folder.path().join("state"));
    let output = up
        .args(["up", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(
        said.contains("usermod --add-subuids") && said.contains("--no-runner"),
        "{said}"
    );
}

#[test]
fn a_line_answers_to_its_own_names_alone_and_says_its_own_address() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), "");
    let repo = "/repo/test-9/test-9.repo";
    let asked_for = |host: &str, more: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", up.port())).unwrap();
        let request =
            format!("GET {repo} HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let rebound = asked_for("evil.example", "");
    assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");
    assert!(
        rebound.contains("not to `evil.example`: start it with `millrace up --url URL`"),
        "{rebound}"
    );
    let own = format!("http://127.0.0.1:{}", up.port());
    for (host, more) in [
        ("localhost", ""),
        (
            "127.0.0.1",
            "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n",
        ),
    ] {
        let answer = asked_for(host, more);
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains(&own),
            "{answer}"
        );
        assert!(!answer.contains("evil.example"), "{answer}");
    }
}
