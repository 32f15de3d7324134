//! `cargo xtask bench`: builds, and lets the measuring program of `tests/benches` run where it finds what it needs.

use crate::cloud::{FUNCTIONS, Services};
use crate::command::shown;
use crate::folders::Folders;
use crate::{build, cargo, demo, deploy, root, setup, test};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// The bench of the functions of the cloud, whose programs are built as they are deployed.
const CLOUD: &str = "cloud";

/// The bench of the sandbox, which compares with others, and builds a real package.
const RUNNER: &str = "runner";

/// Where it finds packages to build: `NAME/`, and upstream's archive.
const PACKAGES: &str = "MILLRACE_TEST_PACKAGES";

fn cloud(folders: &Folders, yes: bool) -> Result<()> {
    setup::set_up(folders, setup::Purpose::Cloud, yes)?;
    build::workspace(folders, true)?;
    build::guests(folders)?;
    let programs = deploy::build_programs(folders)?;
    let mut example = cargo::cargo(folders, "build");
    example
        .args(build::SELECTION)
        .args(build::CLOUD)
        .args(["--example", "bench-cloud"]);
    shown(&mut example)?;
    let services = Services::start(folders)?;
    let mut command = Command::new(folders.target.join("debug/examples/bench-cloud"));
    test::environment(folders, &mut command)?;
    services.environment(folders, &mut command);
    command.env(FUNCTIONS, programs).stdin(Stdio::null());
    shown(&mut command).context("the measuring program failed: its output is above")
}

/// Measures; with `json`, rows for programs are all that is printed on standard output.
pub fn bench(folders: &Folders, yes: bool, json: bool, names: &[String]) -> Result<()> {
    if names.iter().any(|name| name == CLOUD) {
        anyhow::ensure!(
            names.len() == 1 && !json,
            "`bench cloud` prints its tables for people, and goes alone"
        );
        return cloud(folders, yes);
    }
    let runner = names.is_empty() || names.iter().any(|name| name == RUNNER);
    setup::set_up(
        folders,
        if runner {
            setup::Purpose::Bench
        } else {
            setup::Purpose::Line
        },
        yes,
    )?;
    build::measured(folders)?;
    build::guests(folders)?;
    build::example_guests(folders)?;
    root::ask_once_for_all()?;
    // The program is one of the command's words if sudo runs it, and these variables are among those that go along.
    let mut command = Command::new(folders.own_copy()?);
    command
        .arg(root::VERB)
        .arg(folders.target.join("debug/bench"));
    test::environment(folders, &mut command)?;
    if runner {
        command.env(PACKAGES, demo::packages(folders)?);
    }
    command
        .args(json.then_some("--json"))
        .args(names)
        .stdin(Stdio::null());
    shown(&mut command).context("the measuring program failed: its output is above")
}
