//! One runner builds for four architectures, three of them by emulation; and plugins decide the same wherever they run.

use crate::release::{download_signed, install};
use crate::specs::{endian, files, library};
use millrace_core::Arch;
use millrace_host::machine::arch::Facts;
use millrace_host::plugin::engine::Code;
use millrace_host::worker::{self, WorkerConfig, WorkerError};
use millrace_tests::up::{TestSetup, Up, every_architecture, platform_for, run};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The architecture whose bytes come in another order than those of all the others.
const BIG: Arch = Arch::S390x;

#[test]
fn one_runner_builds_tests_and_releases_for_every_architecture() {
    let Some(platform) = every_architecture() else {
        return;
    };
    let (folder, names) = (tempfile::tempdir().unwrap(), Arch::ALL.map(Arch::as_str));
    let calls = folder.path().join("calls");
    let emulated = names.iter().flat_map(|name| ["--emulate", name]);
    let words: Vec<&str> = emulated
        .chain(["--trace", calls.to_str().unwrap()])
        .collect();
    let mut up = Up::start_with(folder.path(), &platform_for(&platform, "", &names), &words);
    let commit = up.push_new("endian", &files(&endian()));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
    println!("{told}");
    // In a root that has nothing but what the package needs.
    assert_eq!(
        told.matches("1 test passed").count(),
        Arch::ALL.len(),
        "{told}"
    );
    let build = up.builds()[0]["id"].as_str().unwrap().to_owned();
    for arch in Arch::ALL {
        let package = folder.path().join(format!("endian.{arch}.rpm"));
        let path = format!("/repo/test-9/{arch}/os/Packages/e/endian-1-1.t9.{arch}.rpm");
        download_signed(&up, folder.path(), &path, &package);
        programs_are_of(arch, &package);
        let log = up.millrace(&["logs", &build, &format!("rpm@{arch}")]);
        assert_eq!(
            log.contains("is emulated on"),
            arch.as_str() != std::env::consts::ARCH,
            "{arch}: {log}"
        );
        assert!(
            log.contains(&format!(
                "\nthe order of bytes is {}\n",
                if arch == BIG { "big" } else { "little" }
            )),
            "{arch}: {log}"
        );
    }
    let (status, told) = up.http("GET", &format!("/api/v1/builds/{build}"), "", "");
    let told: Value =
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{status}: {error}: {told}"));
    for task in told["pipeline"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|task| !task["arch"].is_null())
    {
        let expected = if task["arch"] == std::env::consts::ARCH {
            Value::Null
        } else {
            std::env::consts::ARCH.into()
        };
        assert_eq!(task["attempts"][0]["emulated_on"], expected, "{task}");
    }
    the_same_was_asked_for_everywhere(&calls);
    let root = install(&up, folder.path(), &platform, BIG.as_str(), "endian");
    assert_eq!(
        run(Command::new("chroot").arg(&root).arg("/usr/bin/endian")),
        "big\n"
    );
}

/// The library and the program of a package, and what the package calls itself.
fn programs_are_of(arch: Arch, package: &Path) {
    let package = rpm::Package::open(package).unwrap();
    assert_eq!(package.metadata.get_arch().unwrap(), arch.as_str());
    let header = Facts::of(arch).elf_header();
    let all = package
        .files()
        .unwrap()
        .map(|file| file.unwrap().content().unwrap_or_default().to_vec());
    let programs: Vec<Vec<u8>> = all
        .filter(|content| content.starts_with(b"\x7fELF"))
        .collect();
    assert_eq!(programs.len(), 2, "{arch}");
    for program in programs {
        // The class and the order of bytes, and behind the kind of the file the processor.
        assert_eq!(
            (&program[..7], &program[18..20]),
            (&header[..7], &header[18..]),
            "{arch}"
        );
    }
}

fn the_same_was_asked_for_everywhere(calls: &Path) {
    let asked = traces(calls);
    for (step, call) in [("rpm", "artifacts.publish"), ("check", "command.run")] {
        let of = |arch: Arch| neutral(&asked[&format!("{step}@{arch}")], arch);
        let expected = of(Arch::X86_64);
        assert!(
            expected
                .lines()
                .filter(|line| line.starts_with(call))
                .count()
                > 2,
            "{expected}"
        );
        for arch in Arch::ALL {
            assert_eq!(of(arch), expected, "{step} on {arch}");
        }
    }
}

/// What was asked for by the tasks of a build. A file's name is `BUILD-TASK-LEASE.calls`.
fn traces(folder: &Path) -> BTreeMap<String, String> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (_, task) = name.rsplit_once('-').unwrap().0.split_once('-').unwrap();
        (task.to_owned(), fs::read_to_string(&path).unwrap())
    };
    paths.map(read).collect()
}

/// Without what must differ: the architecture's name, and how large its packages are, which the step `rpm` tells in the log.
fn neutral(trace: &str, arch: Arch) -> String {
    let line = |line: &str| match line
        .strip_suffix(" bytes\"")
        .and_then(|line| line.rsplit_once("  "))
    {
        Some((before, _)) if line.starts_with("log.line") => format!("{before}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    trace
        .lines()
        .map(line)
        .collect::<String>()
        .replace(arch.as_str(), "ARCH")
}

#[test]
fn plugins_that_are_interpreted_take_the_same_decisions_as_compiled_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Up::start_without_runner(folder.path());
    let compiled = Running::start(&up, folder.path(), "compiled", Code::of_this_machine());
    let commit = up.push_new("tally", &files(&library("1")));
    let (told, released) = up.watch(&commit);
    assert!(released, "{told}\n{}", up.log());
    compiled.stop();
    let interpreted = Running::start(&up, folder.path(), "interpreted", Code::Portable);
    let told = up.millrace(&["build", "tally", "--watch"]);
    assert!(told.contains("on interpreted"), "{told}");
    interpreted.stop();
    let asked = |name: &str| traces(&folder.path().join(name).join("calls"));
    assert_eq!(
        asked("compiled")
            .keys()
            .filter(|task| !task.contains("source"))
            .count(),
        2,
        "{told}"
    );
    assert_eq!(asked("interpreted"), asked("compiled"));
}

/// A runner in a thread of this process.
struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    fn start(up: &Up, folder: &Path, name: &str, code: Code) -> Self {
        let (token, state) = up.let_in(name);
        let config = WorkerConfig {
            desk_url: up.url(""),
            token,
            runner: name.parse().unwrap(),
            arch: std::env::consts::ARCH.parse().unwrap(),
            emulates: Vec::new(),
            state: state.join("runner"),
            launcher: TestSetup::here().program,
            code,
            features: Default::default(),
            traces: Some(folder.join(name).join("calls")),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        Self {
            stop,
            thread: std::thread::spawn(move || worker::run(config, seen)),
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap().unwrap();
    }
}
