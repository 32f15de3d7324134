//! Programs from PyPI, each set in a folder of its own.

use crate::command::logged;
use crate::folders::{self, Folders};
use crate::progress;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// The emulator of AWS and `aws`, with the digest of each file.
const AWS_TOOLS: &str = "tests/cloud/requirements.txt";

/// The folder with the emulator of AWS and with `aws`, installed if they are missing or of another version.
pub fn aws_tools(folders: &Folders) -> Result<PathBuf> {
    install(
        folders,
        "emulator",
        "install the emulator of AWS",
        AWS_TOOLS,
    )
}

/// A folder with programs from PyPI. pip checks the digest of each file.
pub fn install(folders: &Folders, name: &str, title: &str, requirements: &str) -> Result<PathBuf> {
    let place = folders.cache.join("cloud").join(name);
    let programs = place.join("bin");
    let stamp = place.join("installed.txt");
    let requirements = folders.workspace.join(requirements);
    let wanted = std::fs::read_to_string(&requirements)
        .with_context(|| requirements.display().to_string())?;
    if programs.is_dir() && std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(programs);
    }
    folders::remove(&place)?;
    progress::timed(folders, name, title, 40, |progress| {
        progress.set("making a place for it");
        logged(
            Command::new("python3").args(["-m", "venv"]).arg(&place),
            &folders.log("venv"),
        )?;
        progress.set("downloading");
        let mut pip = Command::new(programs.join("pip"));
        pip.args([
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-r",
        ]);
        logged(pip.arg(&requirements), &folders.log("pip"))
    })?;
    folders::write(&stamp, wanted)?;
    Ok(programs)
}
