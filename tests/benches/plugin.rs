//! What a plugin costs before it does anything, against a step that is a shell script.

use crate::row::{Better, Row, in_turn, seconds};
use millrace_core::Digest;
use millrace_core::platform::SandboxOptions;
use millrace_core::protocol::Work;
use millrace_core::task::{LeaseId, TaskId};
use millrace_core::{Arch, LeaseNumber};
use millrace_host::line::log::TaskLog;
use millrace_host::plugin::end::End;
use millrace_host::plugin::engine::{Code, Plugin, PluginEngine, PluginLimits};
use millrace_host::plugin::job::Job;
use millrace_host::plugin::services::HostServices;
use millrace_host::worker::{self, WorkerConfig};
use millrace_tests::line::{platform, push};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const RUNS: usize = 21;

/// Compiling takes tenths of a second: a few runs say enough.
const COMPILATIONS: usize = 5;

/// Calls that the guest makes when it is asked for calls.
const CALLS: f64 = 10_000.0;

/// From task to first instruction of a plugin that is warm, in milliseconds.
const WARM_GOAL_MS: f64 = 1.0;

const PEER: &str = "fork, exec and exit of `sh -c :`";

/// What is measured, in this order.
pub const ROWS: [&str; 5] = [
    "compile, once a runner",
    "load the compiled component, once a process",
    "instantiate",
    "from task to verdict of a warm plugin",
    "one host call and back",
];

pub fn rows() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let plugins =
        std::env::var("MILLRACE_PLUGINS").expect("MILLRACE_PLUGINS is set by `cargo xtask bench`");
    let guest = std::fs::read(Path::new(&plugins).join("examples/misbehave.wasm")).unwrap();
    let digest = Digest::of(&guest);
    let (compile, shell) = in_turn(COMPILATIONS, || compile_ms(&guest, &digest), shell_ms);
    let host = host(folder.path());
    host.engine.compile(&digest, &guest).unwrap();
    let (load, shell_2) = in_turn(RUNS, || load_ms(folder.path(), &digest), shell_ms);
    let plugin = host
        .engine
        .loaded(&digest)
        .expect("it was compiled a moment ago");
    let (instance, shell_5) = in_turn(
        RUNS,
        || instantiate_ms(&host, &plugin, &digest, folder.path()),
        shell_ms,
    );
    let (warm, shell_3) = in_turn(
        RUNS,
        || run_ms(&host, &plugin, &digest, folder.path(), "nothing"),
        shell_ms,
    );
    let (call, shell_4) = in_turn(
        RUNS,
        || run_ms(&host, &plugin, &digest, folder.path(), "calls") / CALLS,
        shell_ms,
    );
    let row = |row, ours, theirs, goal| Row {
        row,
        ours,
        unit: "ms",
        peer: PEER,
        theirs,
        goal,
        better: Better::Less,
    };
    vec![
        row(ROWS[0], compile, shell, None),
        row(ROWS[1], load, shell_2, None),
        row(ROWS[2], instance, shell_5, None),
        row(ROWS[3], warm, shell_3, Some(WARM_GOAL_MS)),
        row(ROWS[4], call, shell_4, None),
    ]
}

/// What a runner has for plugins.
struct Host {
    engine: PluginEngine,
    services: Arc<HostServices>,
}

fn host(folder: &Path) -> Host {
    let config = WorkerConfig {
        desk_url: "http://127.0.0.1:9".to_owned(),
        token: String::new(),
        runner: "bench".parse().unwrap(),
        arch: Arch::X86_64,
        emulates: Vec::new(),
        code: Code::of_this_machine(),
        traces: None,
        state: folder.to_owned(),
        launcher: "/nowhere".into(),
        features: Default::default(),
    };
    Host {
        engine: worker::engine(&config, PluginLimits::default()).unwrap(),
        services: Arc::new(worker::services(&config).unwrap()),
    }
}

fn compile_ms(guest: &[u8], digest: &Digest) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    1e3 * seconds(|| drop(host.engine.compile(digest, guest).unwrap()))
}

fn load_ms(folder: &Path, digest: &Digest) -> f64 {
    let host = host(folder);
    1e3 * seconds(|| drop(host.engine.loaded(digest).expect("it was compiled before")))
}

fn job(host: &Host, work: Work, place: &Path) -> Job {
    let lease_id = LeaseId {
        build: work.build.clone(),
        task: work.task.clone(),
        number: LeaseNumber(1),
    };
    Job::new(
        work,
        None,
        lease_id,
        place,
        Arc::new(TaskLog::new(1 << 20)),
        Arc::default(),
        host.services.clone(),
    )
    .unwrap()
}

fn place(folder: &Path) -> PathBuf {
    let place = folder.join("work");
    std::fs::create_dir_all(&place).unwrap();
    place
}

fn instantiate_ms(host: &Host, plugin: &Plugin, digest: &Digest, folder: &Path) -> f64 {
    let job = job(host, work(digest, "nothing"), &place(folder));
    1e3 * seconds(|| host.engine.instantiate(plugin, job).unwrap())
}

fn run_ms(host: &Host, plugin: &Plugin, digest: &Digest, folder: &Path, what: &str) -> f64 {
    let (place, work) = (place(folder), work(digest, what));
    1e3 * seconds(|| {
        let job = job(host, work, &place);
        let (end, _) = host.engine.run(plugin, job);
        assert!(
            matches!(end, End::Answered(Ok(_))),
            "the guest did not answer as it should"
        );
    })
}

fn work(plugin: &Digest, what: &str) -> Work {
    let (push, platform) = (push("zlib", 1), platform(r#""x86_64""#));
    Work {
        build: "b1".parse().unwrap(),
        task: TaskId {
            step: "try".parse().unwrap(),
            arch: Some(Arch::X86_64),
        },
        package: push.announced.package,
        commit: push.announced.commit,
        arch: Some(Arch::X86_64),
        platform: platform.name,
        releasever: platform.releasever,
        module_platform: None,
        macros: platform.macros,
        source_date_epoch_s: push.committed_s,
        spec: push.spec,
        repositories: Vec::new(),
        buildroot: platform.buildroot,
        sandbox: SandboxOptions {
            limits: platform.limits,
            ..SandboxOptions::default()
        },
        lock: None,
        plugin: *plugin,
        plugin_name: "misbehave".to_owned(),
        inputs: Vec::new(),
        config: std::collections::BTreeMap::from([("what".to_owned(), what.into())]),
        hold_s: None,
    }
}

fn shell_ms() -> f64 {
    1e3 * seconds(|| {
        assert!(
            Command::new("sh")
                .args(["-c", ":"])
                .status()
                .unwrap()
                .success(),
            "sh does not run"
        )
    })
}
