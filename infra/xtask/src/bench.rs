//! `cargo xtask bench`: builds, and lets the measuring program of `tests/benches` run where it finds what it needs.

use crate::build;
use crate::command::shown;
use crate::folders::Folders;
use crate::{root, setup, test};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};

/// Measures; with `json`, rows for programs are all that is printed on standard output.
pub fn bench(folders: &Folders, yes: bool, json: bool, names: &[String]) -> Result<()> {
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
