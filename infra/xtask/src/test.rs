//! `cargo xtask test`: everything that must hold before a change is taken.

use crate::build::{self, CLOUD, SELECTION, TARGET_DIR, cargo};
use crate::cloud::Services;
use crate::command::{self, logged, shown};
use crate::folders::Folders;
use crate::{emulation, platform, progress, root, setup};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where tests find the file of a platform that this machine can build for.
const PLATFORM: &str = "MILLRACE_TEST_PLATFORM";
/// The file of a platform for every architecture of the line, or nothing where this machine cannot emulate the others.
const ARCHITECTURES: &str = "MILLRACE_TEST_ARCHITECTURES";
/// Where they find the plugins' components: a folder with `NAME.wasm`.
const PLUGINS: &str = "MILLRACE_PLUGINS";
/// And the `millrace` command.
const MILLRACE: &str = "MILLRACE_BIN";
/// Where buildroots are kept from one run to the next.
const WORK: &str = "MILLRACE_TEST_WORK";

/// Sets the machine up, builds all, checks form and lints, and runs every test. What follows `--` goes to the test runner.
///
/// The tests of the cloud are among them where they are asked for.
pub fn test(folders: &Folders, yes: bool, cloud: bool, rest: &[String]) -> Result<()> {
    let begin = Instant::now();
    setup::set_up(
        folders,
        if cloud {
            setup::For::Cloud
        } else {
            setup::For::Chaos
        },
        yes,
    )?;
    let not_emulated = emulation::set_up(folders, yes)?;
    let skipped = checks(folders)?;
    if cloud {
        crate::cloud::lint(folders)?;
    }
    build::workspace(folders, cloud)?;
    build::guests(folders)?;
    build::example_guests(folders)?;
    if rest.is_empty() {
        tests_of_guests(folders)?;
    }
    let services = cloud.then(|| Services::start(folders)).transpose()?;
    tests(folders, services.as_ref(), not_emulated.is_none(), rest)?;
    eprintln!(
        "✓ everything holds, after {}",
        progress::spoken(begin.elapsed().as_secs())
    );
    for what in skipped {
        eprintln!("  left out: {what} (this cargo has none; rustup's has)");
    }
    if let Some(why) = not_emulated {
        eprintln!("  left out: the tests of other architectures: {why}");
    }
    Ok(())
}

/// Form, lints and documentation; gives what this toolchain cannot check.
fn checks(folders: &Folders) -> Result<Vec<&'static str>> {
    let mut skipped = Vec::new();
    // A build folder of their own: what they compile is of no use to a build, and would take turns with it.
    let lints = folders.target.with_file_name("clippy");
    let mut check = |verb: &'static str,
                     title: &str,
                     guess_s,
                     words: &[&str],
                     flags: Option<(&str, &str)>|
     -> Result<()> {
        let there = Command::new("cargo")
            .args([verb, "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if verb != "doc" && !there.is_ok_and(|status| status.success()) {
            skipped.push(verb);
            return Ok(());
        }
        let mut command = cargo(folders, verb);
        command.env(TARGET_DIR, &lints).args(words).envs(flags);
        progress::timed(
            folders,
            verb,
            title,
            progress::on_all_cores(guess_s),
            |_| logged(&mut command, &folders.log(verb)),
        )
    };
    check("fmt", "form (cargo fmt)", 2, &["--all", "--check"], None)?;
    let clippy = [
        &SELECTION[..],
        &CLOUD,
        &["--all-targets", "--", "-D", "warnings"],
    ]
    .concat();
    check("clippy", "lints (cargo clippy)", 300, &clippy, None)?;
    let doc = [&SELECTION[..], &["--no-deps"]].concat();
    check(
        "doc",
        "documentation (cargo doc)",
        60,
        &doc,
        Some(("RUSTDOCFLAGS", "-D warnings")),
    )?;
    Ok(skipped)
}

/// What the guests can tell without a host, on this machine. A selection of their own: with the others, dependencies would come to other
/// features.
fn tests_of_guests(folders: &Folders) -> Result<()> {
    let mut command = runner(folders);
    command.args(
        build::GUESTS
            .iter()
            .flat_map(|guest| ["-p".to_owned(), format!("plugin-{guest}")]),
    );
    eprintln!("tests of the plugins:");
    shown(command.stdin(Stdio::null()))
        .context("tests of the plugins failed: their output is above")
}

/// cargo nextest, or cargo test where there is none.
fn runner(folders: &Folders) -> Command {
    let nextest = has_nextest();
    let mut command = cargo(folders, if nextest { "nextest" } else { "test" });
    command.args(nextest.then_some("run"));
    command
}

fn has_nextest() -> bool {
    command::find("cargo-nextest").is_some()
}

fn tests(
    folders: &Folders,
    services: Option<&Services>,
    emulation: bool,
    rest: &[String],
) -> Result<()> {
    let mut command = runner(folders);
    command.args(SELECTION).arg("--no-fail-fast");
    environment(folders, &mut command)?;
    let architectures = folders.cache.join("test-architectures.toml");
    if emulation {
        crate::folders::write(&architectures, platform::for_all_architectures(folders)?)?;
    }
    command.env(
        ARCHITECTURES,
        if emulation {
            architectures
        } else {
            PathBuf::new()
        },
    );
    if let Some(services) = services {
        command.args(CLOUD);
        services.environment(folders, &mut command);
    }
    command.args(rest);
    if !root::is_root() {
        // cargo and what it builds stay the user's; only the tests themselves are run as root.
        root::ask_once_for_all()?;
        command.env(
            build::variable_of_target(&build::host()?, "RUNNER"),
            format!("{} {}", folders.xtask().display(), root::VERB),
        );
    }
    eprintln!(
        "tests ({}):",
        if has_nextest() {
            "cargo nextest"
        } else {
            "cargo test"
        }
    );
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
