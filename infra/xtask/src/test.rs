//! `cargo xtask test`: everything that must hold before a change is taken.

use crate::build::{self, CLOUD, SELECTION, TARGETS};
use crate::cargo::{self, cargo};
use crate::cloud::Services;
use crate::command::{self, shown};
use crate::folders::Folders;
use crate::phases::Phases;
use crate::{emulation, lints, platform, progress, root, setup};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// Where tests find the file of a platform that this machine can build for.
const PLATFORM: &str = "MILLRACE_TEST_PLATFORM";
/// The file of a platform for every architecture of the line, or nothing if this machine cannot emulate the others.
const ARCHITECTURES: &str = "MILLRACE_TEST_ARCHITECTURES";
/// Where they find the plugins' components: a folder with `NAME.wasm`.
const PLUGINS: &str = "MILLRACE_PLUGINS";
/// And the `millrace` command.
const MILLRACE: &str = "MILLRACE_BIN";
/// Where buildroots are kept from one run to the next.
const WORK: &str = "MILLRACE_TEST_WORK";

/// The profile of the test runner's, in `.config/nextest.toml`: how many threads a test takes.
const PROFILE: &str = "xtask";

/// Threads of the test runner's: tests of the whole line wait more than they compute.
const THREADS_PER_CORE: u64 = 2;

/// Sets up, builds, checks form and lints, and runs every test; those of the cloud too, if `cloud`. The test runner gets `rest`.
pub fn test(folders: &Folders, yes: bool, cloud: bool, rest: &[String]) -> Result<()> {
    let mut phases = Phases::begin();
    let result = everything(folders, &mut phases, yes, cloud, rest);
    eprint!("where the time went:\n{}", phases.table());
    let skipped = result?;
    eprintln!("✓ everything holds");
    for what in skipped {
        eprintln!("  skipped: {what}");
    }
    Ok(())
}

/// Returns what could not be checked here, and why.
fn everything(
    folders: &Folders,
    phases: &mut Phases,
    yes: bool,
    cloud: bool,
    rest: &[String],
) -> Result<Vec<String>> {
    let not_emulated = phases.run("set up", || {
        let purpose = if cloud {
            setup::Purpose::Cloud
        } else {
            setup::Purpose::Chaos
        };
        setup::set_up(folders, purpose, yes)?;
        emulation::set_up(folders, yes)
    })?;
    phases.run("form", || lints::form(folders))?;
    if cloud {
        phases.run("the template", || crate::cloud::lint(folders))?;
    }
    phases.run("build", || build::tests(folders, cloud))?;
    phases.run("build the plugins", || {
        build::guests(folders)?;
        build::example_guests(folders)
    })?;
    let mut skipped = Vec::new();
    let (tests, lints) = std::thread::scope(|scope| {
        let lints = scope.spawn(|| lints::beside_tests(folders));
        let tests = all_tests(folders, phases, cloud, not_emulated.is_none(), rest);
        let lints = phases.run("waiting for lints", || {
            Ok(lints.join().expect("lints do not panic"))
        });
        (tests, lints)
    });
    let lints = lints?;
    for (name, time) in &lints.times {
        phases.add_beside(name, *time);
    }
    tests?;
    skipped.extend(lints.result?);
    skipped.extend(not_emulated.map(|why| format!("the tests of other architectures: {why}")));
    Ok(skipped)
}

fn all_tests(
    folders: &Folders,
    phases: &mut Phases,
    cloud: bool,
    emulation: bool,
    rest: &[String],
) -> Result<()> {
    if rest.is_empty() {
        phases.run("tests of the plugins", || tests_of_guests(folders))?;
    }
    let services = phases.run("services of the cloud", || {
        cloud.then(|| Services::start(folders)).transpose()
    })?;
    let mut command = phases.run("platforms", || command_of_tests(folders, emulation))?;
    if let Some(services) = &services {
        command.args(CLOUD);
        services.environment(folders, &mut command);
    }
    if has_nextest() {
        command.args(["--profile", PROFILE]);
        if !rest.iter().any(|word| word.starts_with("--test-threads")) {
            let threads = THREADS_PER_CORE * progress::cores();
            command.arg(format!("--test-threads={threads}"));
        }
    }
    command.args(rest);
    phases.run("tests", || run_tests(folders, command))
}

/// What the guests can tell without a host, on this machine. A selection of its own: together with the others, dependencies would get
/// other features.
fn tests_of_guests(folders: &Folders) -> Result<()> {
    let mut command = runner(folders);
    command.args(TARGETS).args(["-p", "millrace-sdk"]).args(
        build::GUESTS
            .iter()
            .flat_map(|guest| ["-p".to_owned(), format!("plugin-{guest}")]),
    );
    eprintln!("tests of the plugins:");
    shown(command.stdin(Stdio::null()))
        .context("tests of the plugins failed: their output is above")
}

/// cargo nextest, or cargo test on machines without it.
fn runner(folders: &Folders) -> Command {
    let nextest = has_nextest();
    let mut command = cargo(folders, if nextest { "nextest" } else { "test" });
    command.args(nextest.then_some("run"));
    command
}

fn has_nextest() -> bool {
    command::find("cargo-nextest").is_some()
}

fn command_of_tests(folders: &Folders, emulation: bool) -> Result<Command> {
    let mut command = runner(folders);
    command.args(SELECTION).args(TARGETS).arg("--no-fail-fast");
    environment(folders, &mut command)?;
    let architectures = folders.cache.join("test-architectures.toml");
    if emulation {
        crate::folders::write(&architectures, platform::for_all_architectures(folders)?)?;
        command.env(ARCHITECTURES, architectures);
    } else {
        command.env(ARCHITECTURES, "");
    }
    Ok(command)
}

fn run_tests(folders: &Folders, mut command: Command) -> Result<()> {
    if !root::is_root() {
        // cargo and what it builds stay the user's; only the tests themselves are run as root.
        root::ask_once_for_all()?;
        command.env(
            cargo::variable_of_target(&cargo::host()?, "RUNNER"),
            format!("{} {}", folders.own_copy()?.display(), root::VERB),
        );
    }
    let name = if has_nextest() {
        "cargo nextest"
    } else {
        "cargo test"
    };
    eprintln!("tests ({name}):");
    shown(command.stdin(Stdio::null())).context("tests failed: their output is above")
}

/// Tells a program that uses the line where its parts lie.
pub fn environment(folders: &Folders, command: &mut Command) -> Result<()> {
    command
        .env(PLUGINS, folders.plugins())
        .env(MILLRACE, folders.millrace())
        .env(WORK, folders.cache.join("test-work"));
    let platform = folders.cache.join("test-platform.toml");
    crate::folders::write(&platform, platform::for_this_machine(folders, None, None)?)?;
    command.env(PLATFORM, platform);
    Ok(())
}
