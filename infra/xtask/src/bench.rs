//! `cargo xtask bench`: builds, and lets the measuring program of `tests/benches` run where it finds what it needs.

use crate::cloud::{FUNCTIONS, Services};
use crate::command::shown;
use crate::folders::Folders;
use crate::{build, deploy, root, setup, test};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// The bench of the functions of the cloud, whose programs are built as they are deployed.
const CLOUD: &str = "cloud";

fn cloud(folders: &Folders, yes: bool) -> Result<()> {
    setup::set_up(folders, setup::For::Cloud, yes)?;
    build::workspace(folders, true)?;
    build::guests(folders)?;
    let programs = deploy::build_programs(folders)?;
    let mut example = build::cargo(folders, "build");
    example.args(build::SELECTION).args(build::CLOUD).args(["--example", "bench-cloud"]);
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
        anyhow::ensure!(names.len() == 1 && !json, "`bench cloud` prints its tables for people, and goes alone");
        return cloud(folders, yes);
    }
    setup::set_up(folders, setup::For::Line, yes)?;
    build::workspace(folders, false)?;
    build::guests(folders)?;
    build::example_guests(folders)?;
    root::ask_once_for_all()?;
    // The program is one of the command's words where sudo runs it, and these variables are among those that go along.
    let mut command = Command::new(folders.xtask());
    command.arg(root::VERB).arg(folders.target.join("debug/bench"));
    test::environment(folders, &mut command)?;
    command.args(json.then_some("--json")).args(names).stdin(Stdio::null());
    shown(&mut command).context("the measuring program failed: its output is above")
}
