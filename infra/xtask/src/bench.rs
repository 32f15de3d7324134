//! `cargo xtask bench`: builds, and lets the measuring program of `tests/benches` run where it finds what it needs.

use crate::build;
use crate::command::shown;
use crate::folders::Folders;
use crate::test;
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// Measures; with `json`, rows for programs are all that is printed on standard output.
pub fn bench(folders: &Folders, json: bool, names: &[String]) -> Result<()> {
    build::workspace(folders)?;
    build::guests(folders)?;
    build::example_guests(folders)?;
    let mut command = Command::new(folders.target.join("debug/bench"));
    test::environment(folders, &mut command)?;
    command.args(json.then_some("--json")).args(names).stdin(Stdio::null());
    shown(&mut command).context("the measuring program failed: its output is above")
}
