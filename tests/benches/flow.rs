//! What people wait for on a line of real processes: until a runner begins with a task, until a line of a log can be read, and until
//! another runner has what a killed one had.

use crate::row::{Better, Figures, Row};
use millrace_core::build::Build;
use millrace_store::builds::load_build;
use millrace_store::local::LocalStore;
use millrace_tests::up::{TestSetup, Up, platform};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runners that are there while a task becomes ready, in turn.
const IDLE: [usize; 3] = [1, 10, 100];

/// Tasks that become ready for each.
const TASKS: usize = 100;

/// From ready to the first instruction, at most, for 99 of 100 tasks, in milliseconds.
const BEGUN_GOAL_MS: f64 = 1000.0;

/// Lines that a build prints, a tenth of a second apart.
const LINES: usize = 200;

/// From printed to read, at most, in milliseconds.
const READ_GOAL_MS: f64 = 2000.0;

/// Runners that are killed, each with a task.
const KILLED: usize = 8;

/// From a runner's death to the next lease of its task, at most, in seconds.
const RECOVERED_GOAL_S: f64 = 60.0;

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is measured, in this order.
pub const ROWS: [&str; 5] = [
    "ready to first instruction, 99th of 100, 1 idle",
    "ready to first instruction, 99th of 100, 10 idle",
    "ready to first instruction, 99th of 100, 100 idle",
    "a line of a log, printed to read, 99th of 100",
    "kill -9 of a runner to the next lease, the longest",
];

pub fn rows() -> Vec<Row> {
    let mut rows = begun();
    rows.push(read());
    rows.push(recovered());
    rows
}

/// A platform whose packages have one task, done once.
const ONE_TASK: &str = "\n[[steps]]\nname = \"source\"\nplugin = \"source\"\non = \"once\"\n";

fn begun() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let all = platform(&TestSetup::here().platform, "");
    let one_task = all.split("[[steps]]").next().unwrap().to_owned() + ONE_TASK;
    let mut up = Up::start_with(folder.path(), &one_task, &["--no-runner"]);
    let trace = folder.path().join("trace");
    let words = ["--trace", trace.to_str().unwrap()];
    let (mut rows, mut there) = (Vec::new(), 0);
    let spec = "Name: empty\nVersion: 1\nRelease: 1\nSummary: Nothing\nLicense: MIT\nBuildArch: noarch\n%description\n%files\n";
    let commit = up.push_new("empty", &[("empty.spec", spec)]);
    for (row, idle) in ROWS.into_iter().zip(IDLE) {
        while there < idle {
            up.runner_with(&format!("r{there}"), &words);
            there += 1;
        }
        wait(|| up.millrace(&["runner", "list", "--json"]).lines().count() >= idle);
        // The first pays for what is done once a runner and once a platform.
        wait(|| !runs(&up));
        let mut times: Vec<f64> = (0..TASKS)
            .map(|_| begun_after_ms(&up, &commit, &trace))
            .collect();
        times.sort_by(f64::total_cmp);
        let ours = Figures::new(vec![times[times.len() * 99 / 100]]);
        let (theirs, goal) = (Figures::new(times), Some(BEGUN_GOAL_MS));
        rows.push(Row {
            row,
            ours,
            unit: "ms",
            peer: "all of the same: their median",
            theirs,
            goal,
            better: Better::Less,
        });
    }
    rows
}

/// Whether something runs or waits.
fn runs(up: &Up) -> bool {
    up.builds().iter().any(|build| build["state"] == "running")
}

/// How long after its task was ready a runner began with it: its plugin's trace begins right before its first instruction.
fn begun_after_ms(up: &Up, commit: &str, trace: &Path) -> f64 {
    let said = up.millrace(&["build", "empty", "--commit", commit, "--scratch", "--json"]);
    let push: Value = serde_json::from_str(&said).unwrap();
    let push = push["push"].as_str().unwrap().to_owned();
    let mut build = Value::Null;
    wait(|| {
        let builds = up.builds();
        build = builds
            .into_iter()
            .find(|build| build["push"] == push.as_str())
            .unwrap_or(Value::Null);
        build["state"] == "passed"
    });
    let name = format!("{}-source-1.calls", build["id"].as_str().unwrap());
    let began = fs::metadata(trace.join(name)).unwrap().created().unwrap();
    let ready = record(up, &build).created.0;
    let began = began.duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1e3;
    (began - ready as f64).max(0.0)
}

/// A build as the line keeps it: its times are in milliseconds there.
fn record(up: &Up, build: &Value) -> Build {
    let store = LocalStore::open(&up.state()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let id = build["id"].as_str().unwrap().parse().unwrap();
    runtime
        .block_on(load_build(&store, &id))
        .unwrap()
        .unwrap()
        .0
}

fn wait(mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A build that says what time it is, read by somebody far away, and by `tail -f` of a file on the same machine.
fn read() -> Row {
    let script = format!("for n in $(seq {LINES}); do echo \"now $(date +%s%N)\"; sleep 0.1; done");
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start(folder.path(), "");
    let spec = format!(
        "Name: talks\nVersion: 1\nRelease: 1\nSummary: Talks\nLicense: MIT\nBuildArch: noarch\n%description\n%build\n{script}\n%files\n"
    );
    up.push_new("talks", &[("talks.spec", &spec)]);
    let mut path = String::new();
    wait(|| {
        let builds = up.builds();
        let Some(build) = builds.first() else {
            return false;
        };
        let task = build["pipeline"]
            .as_array()
            .unwrap()
            .iter()
            .find(|task| task["step"] == "rpm" && task["state"] == "running");
        path = task
            .map(|task| {
                format!(
                    "/builds/{}/tasks/{}/log.txt?follow=1",
                    build["id"].as_str().unwrap(),
                    task["task"].as_str().unwrap()
                )
            })
            .unwrap_or_default();
        !path.is_empty()
    });
    let mut theirs = Command::new("sh");
    let file = folder.path().join("log");
    fs::write(&file, "").unwrap();
    theirs.args(["-c", &format!("({script}) > '{}'", file.display())]);
    let ours = late(Command::new("curl").args(["-sN", &up.url(&path)]), None);
    let theirs = late(
        Command::new("tail").args(["-f", "-s", "0.05"]).arg(&file),
        Some(theirs),
    );
    let at = ours.len() * 99 / 100;
    Row {
        row: ROWS[3],
        ours: Figures::new(vec![ours[at]]),
        unit: "ms",
        peer: "`tail -f` of a file on the same machine",
        theirs: Figures::new(vec![theirs[theirs.len() * 99 / 100]]),
        goal: Some(READ_GOAL_MS),
        better: Better::Less,
    }
}

/// How late each line is that says what time it was, in milliseconds, sorted.
fn late(reader: &mut Command, writer: Option<Command>) -> Vec<f64> {
    let mut reader = reader.stdout(Stdio::piped()).spawn().unwrap();
    let writer = writer.map(|mut writer| writer.spawn().unwrap());
    let mut late = Vec::new();
    for line in BufReader::new(reader.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(said) = line
            .strip_prefix("now ")
            .and_then(|text| text.parse::<f64>().ok())
        else {
            continue;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        late.push((now - said / 1e9) * 1e3);
        if late.len() == LINES {
            break;
        }
    }
    ended(reader);
    writer.into_iter().for_each(ended);
    assert!(
        late.len() >= LINES * 9 / 10,
        "only {} lines were read",
        late.len()
    );
    late.sort_by(f64::total_cmp);
    late
}

fn ended(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Runners that are killed with a task each, while others have nothing to do; and again with each started again at once.
fn recovered() -> Row {
    let (others, anew) = (recovered_by(false), recovered_by(true));
    Row {
        row: ROWS[4],
        ours: Figures::new(vec![*others.last().unwrap()]),
        unit: "s",
        peer: "where it is started again at once",
        theirs: Figures::new(vec![*anew.last().unwrap()]),
        goal: Some(RECOVERED_GOAL_S),
        better: Better::Less,
    }
}

fn recovered_by(anew: bool) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let names: Vec<String> = (0..KILLED)
        .map(|number| format!("victim{number}"))
        .collect();
    names.iter().for_each(|name| up.runner_with(name, &[]));
    for number in 0..KILLED {
        let name = format!("slow{number}");
        let spec = format!(
            "Name: {name}\nVersion: 1\nRelease: 1\nSummary: Slow\nLicense: MIT\nBuildArch: noarch\n%description\n%build\nsleep 300\n%files\n"
        );
        up.push_new(&name, &[(&format!("{name}.spec"), &spec)]);
    }
    wait(|| {
        rpm_tasks(&up)
            .iter()
            .filter(|task| task["state"] == "running")
            .count()
            == KILLED
    });
    if !anew {
        (0..KILLED).for_each(|number| up.runner_with(&format!("spare{number}"), &[]));
    }
    let killed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    for name in &names {
        up.kill_runner(name);
        if anew {
            up.start_runner(name);
        }
    }
    wait(|| {
        rpm_tasks(&up)
            .iter()
            .filter(|task| task["state"] == "running" && task["attempt"] == 2)
            .count()
            == KILLED
    });
    let again = |build: &Value| {
        let build = record(&up, build);
        let leases = build.tasks.iter().filter_map(|task| task.lease());
        leases
            .map(|lease| lease.since.0 as f64 / 1e3 - killed)
            .collect::<Vec<_>>()
    };
    let mut times: Vec<f64> = up.builds().iter().flat_map(again).collect();
    times.sort_by(f64::total_cmp);
    for build in up.builds() {
        up.millrace(&["cancel", build["id"].as_str().unwrap()]);
    }
    times
}

fn rpm_tasks(up: &Up) -> Vec<Value> {
    let builds = up.builds();
    let tasks = builds
        .iter()
        .filter_map(|build| build["pipeline"].as_array());
    tasks
        .flat_map(|tasks| {
            tasks
                .iter()
                .filter(|task| task["step"] == "rpm")
                .cloned()
                .collect::<Vec<_>>()
        })
        .collect()
}
