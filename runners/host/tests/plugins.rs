//! What a plugin may do, what it may not, and what becomes of those that try.
#![allow(clippy::unwrap_used)]

mod world;

use millrace_core::Digest;
use millrace_core::task::{Blame, Failure, LeaseId, Outcome};
use millrace_host::line::log::TaskLog;
use millrace_host::line::stop::{Stop, Why};
use millrace_host::plugin::engine::{Code, PluginEngine, PluginLimits};
use millrace_host::plugin::job::Job;
use millrace_host::plugin::outcome;
use millrace_host::worker::{self, WorkerConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs `misbehave` on a machine of its own, and answers what came of it and what was logged.
struct Trial {
    folder: tempfile::TempDir,
    stop: Arc<Stop>,
    time_s: u32,
    limits: PluginLimits,
    url: String,
    code: Code,
}

impl Trial {
    fn new() -> Self {
        let limits = PluginLimits {
            memory_bytes: 64 << 20,
            thinking: Duration::from_millis(300),
        };
        let (url, _) = world::start(world::line_with(""));
        Self {
            folder: tempfile::tempdir().unwrap(),
            stop: Arc::default(),
            time_s: 60,
            limits,
            url,
            code: Code::of_this_machine(),
        }
    }

    fn run(&self, what: &str) -> (Outcome, String) {
        let guest = world::guest("misbehave");
        let digest = Digest::of(&guest);
        let config = WorkerConfig {
            code: self.code,
            traces: Some(self.folder.path().join("calls")),
            ..world::config(&self.url, self.folder.path())
        };
        let services = Arc::new(worker::services(&config).unwrap());
        let engine = worker::engine(&config, self.limits).unwrap();
        let plugin = engine
            .loaded(&digest)
            .unwrap_or_else(|| engine.compile(&digest, &guest).unwrap());
        let mut work = world::work(&digest, what);
        work.sandbox.limits.time_s = self.time_s;
        let limits = work.sandbox.limits;
        let lease_id = LeaseId {
            build: work.build.clone(),
            task: work.task.clone(),
            number: millrace_core::LeaseNumber(1),
        };
        let place = self.folder.path().join("work");
        std::fs::create_dir_all(&place).unwrap();
        let log = Arc::new(TaskLog::new(1 << 20));
        let job = Job::new(
            work,
            None,
            lease_id,
            &place,
            log.clone(),
            self.stop.clone(),
            services,
        )
        .unwrap();
        let (end, job) = engine.run(&plugin, job);
        let logged = log
            .next_chunk()
            .map(|(_, bytes)| String::from_utf8(bytes).unwrap())
            .unwrap_or_default();
        (
            outcome::of(end, "misbehave", &limits, job.into_results().0),
            logged,
        )
    }
}

/// What the plugin of a trial asked for, and its result.
fn asked(trial: &Trial) -> String {
    std::fs::read_to_string(trial.folder.path().join("calls/b1-try@x86_64-1.calls")).unwrap()
}

fn run(what: &str) -> (Outcome, String) {
    Trial::new().run(what)
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn summary(outcome: Outcome) -> String {
    match outcome {
        Outcome::Passed { summary, .. } => summary,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_is_handed_on() {
    assert_eq!(
        run("nothing").0,
        Outcome::Passed {
            summary: String::new(),
            artifacts: Vec::new()
        }
    );
    assert_eq!(
        run("excluded").0,
        Outcome::Excluded {
            reason: "as asked".to_owned()
        }
    );
    assert_eq!(
        failure(run("fail").0),
        Failure::new(Blame::Package, "as asked")
    );
    assert_eq!(failure(run("what?").0).blame, Blame::Configuration);
}

#[test]
fn a_plugin_that_loops_is_stopped_and_blamed() {
    let began = Instant::now();
    let failure = failure(run("loop").0);
    assert_eq!(
        failure,
        Failure::new(
            Blame::Plugin,
            "the plugin `misbehave` was stopped: it computes without end"
        )
    );
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_plugin_that_wants_all_memory_is_stopped_and_blamed() {
    let failure = failure(run("memory").0);
    let reason = "the plugin `misbehave` was stopped: it wants more than the 64 MiB of memory that a plugin has";
    assert_eq!(failure, Failure::new(Blame::Plugin, reason));
}

#[test]
fn a_plugin_that_calls_itself_without_end_is_stopped_and_blamed() {
    let failure = failure(run("stack").0);
    assert_eq!(
        failure.reason,
        "the plugin `misbehave` was stopped: it calls itself without end"
    );
}

#[test]
fn a_panic_is_the_plugins_fault_and_its_words_are_in_the_log() {
    let (outcome, log) = run("panic");
    let failure = failure(outcome);
    assert_eq!(failure.blame, Blame::Plugin);
    assert!(
        failure.reason.contains("broke down") && failure.reason.contains("unreachable"),
        "{}",
        failure.reason
    );
    assert!(log.contains("as asked"), "{log}");
}

#[test]
fn an_exit_is_no_answer() {
    assert_eq!(
        failure(run("exit").0).reason,
        "the plugin `misbehave` ended itself with status 1 where it should have answered"
    );
}

#[test]
fn a_task_that_is_given_up_stops_at_once() {
    let trial = Trial {
        limits: PluginLimits {
            thinking: Duration::from_secs(60),
            ..PluginLimits::default()
        },
        ..Trial::new()
    };
    let stop = trial.stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        stop.raise(Why::RunnerStops);
    });
    let began = Instant::now();
    assert_eq!(
        trial.run("loop").0,
        Outcome::HandedBack {
            reason: "the runner was stopped".to_owned()
        }
    );
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_task_ends_when_its_time_is_over() {
    let limits = PluginLimits {
        thinking: Duration::from_secs(60),
        ..PluginLimits::default()
    };
    let failure = failure(
        Trial {
            time_s: 1,
            limits,
            ..Trial::new()
        }
        .run("loop")
        .0,
    );
    assert_eq!(
        failure.reason,
        "stopped: the task was not done after 1 s (`time_s` of the step's limits)"
    );
}

#[test]
fn a_plugin_sees_nothing_of_the_machine_and_the_same_every_time() {
    let first = summary(run("environment").0);
    assert!(
        first.starts_with("file false, variables 0, clock 1700000000, order "),
        "{first}"
    );
    assert_eq!(summary(run("environment").0), first);
}

#[test]
fn what_a_plugin_says_and_prints_is_logged() {
    assert_eq!(
        run("log").1,
        "==> a part\na line\ntree/x.spec:12: warning: a finding\n"
    );
    assert_eq!(run("print").1, "to standard output\nto standard error\n");
}

#[test]
fn a_plugin_works_in_its_folder() {
    assert_eq!(summary(run("files").0), r#"a/b/c.txt 7 "one two" "two" 0"#);
}

#[test]
fn a_plugin_does_not_get_out_of_its_folder() {
    let trial = Trial::new();
    std::fs::create_dir(trial.folder.path().join("work")).unwrap();
    std::os::unix::fs::symlink("/etc", trial.folder.path().join("work/link")).unwrap();
    let said = summary(trial.run("escape").0);
    let refused = [
        "/etc/passwd",
        "../outside",
        "a/../../outside",
        "",
        "link/passwd",
        "link",
    ];
    let expected = refused
        .map(|path| format!("Error::Refused({path:?})"))
        .join("; ");
    assert_eq!(said, expected);
}

#[test]
fn inputs_of_the_task_can_be_fetched_and_nothing_else() {
    assert_eq!(summary(run("fetch").0), "an input");
    let unknown = summary(run("fetch-unknown").0);
    assert_eq!(
        unknown,
        format!(
            "Err(Error::Unknown({:?}))",
            format!("sha256:{}", "0".repeat(64))
        )
    );
}

#[test]
fn a_result_is_uploaded_and_handed_over() {
    let (outcome, _) = run("publish");
    let Outcome::Passed { summary, artifacts } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(summary, Digest::of(b"the result").to_string());
    let handed_over: Vec<(&str, u64)> = artifacts
        .iter()
        .map(|artifact| (artifact.name.as_str(), artifact.size))
        .collect();
    assert_eq!(handed_over, [("result.txt", 10)]);
}

#[test]
fn a_trace_has_every_call_with_what_it_was_asked_with() {
    let trial = Trial::new();
    trial.run("files");
    let expected = r#"files.make-folder "a/b"
files.write-text "a/b/c.txt" 3 bytes
files.append "a/b/c.txt" 4 bytes
files.find "a" "*.txt"
files.read-range "a/b/c.txt" 4 100
files.read-text "a/b/c.txt"
files.remove "a/b"
files.find "a" "*"
end Answered(Ok(Outcome::Passed("a/b/c.txt 7 \"one two\" \"two\" 0")))
"#;
    assert_eq!(asked(&trial), expected);
    let trial = Trial::new();
    trial.run("fetch");
    assert!(
        asked(&trial).starts_with("artifacts.fetch \"input\" \"in/here\"\n"),
        "{}",
        asked(&trial)
    );
}

#[test]
fn an_interpreted_plugin_comes_to_the_same_as_a_compiled_one() {
    let everything = [
        "nothing",
        "memory",
        "stack",
        "panic",
        "exit",
        "print",
        "log",
        "environment",
        "files",
        "escape",
        "publish",
        "fetch",
        "fetch-unknown",
        "calls",
        "excluded",
        "fail",
        "what else",
    ];
    let limits = PluginLimits {
        memory_bytes: 64 << 20,
        thinking: Duration::from_secs(60),
    };
    let [interpreted, compiled] = [Code::Portable, Code::of_this_machine()].map(|code| Trial {
        code,
        limits,
        ..Trial::new()
    });
    let come_to = |trial: &Trial, what| {
        let (outcome, log) = trial.run(what);
        (outcome, log, asked(trial))
    };
    for what in everything {
        assert_eq!(
            come_to(&interpreted, what),
            come_to(&compiled, what),
            "{what}"
        );
    }
}

#[test]
fn a_plugin_is_compiled_once_and_loaded_from_disk_afterwards() {
    let (folder, guest) = (tempfile::tempdir().unwrap(), world::guest("misbehave"));
    let digest = Digest::of(&guest);
    let engine = || PluginEngine::new(folder.path(), PluginLimits::default()).unwrap();
    assert!(engine().loaded(&digest).is_none());
    engine().compile(&digest, &guest).unwrap();
    let began = Instant::now();
    assert!(engine().loaded(&digest).is_some());
    println!("loaded in {:?}", began.elapsed());
}

#[test]
fn what_is_no_plugin_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let engine = PluginEngine::new(folder.path(), PluginLimits::default()).unwrap();
    for bytes in [&b"not wasm"[..], b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"] {
        let Err(error) = engine.compile(&Digest::of(bytes), bytes) else {
            panic!("{bytes:?}")
        };
        assert!(
            error
                .to_string()
                .starts_with("this is no plugin that this host can run"),
            "{error}"
        );
    }
}
