//! Building the workspace and the guests.

use crate::command;
use crate::folders::Folders;
use crate::progress::{self, Progress};
use crate::wasm::{self, Environment};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What runs on this machine: all but the guests. The same words everywhere, for cargo compiles a dependency anew where
/// other packages are asked for and it comes to other features.
pub const SELECTION: [&str; 3] = ["--workspace", "--exclude", "plugin-*"];

/// The guests: the step that each does.
pub const GUESTS: [&str; 3] = ["source", "rpm", "check"];

/// What building the workspace takes the first time, in seconds, on a machine with two cores that does nothing else.
const WORKSPACE_S: u64 = 640;

/// The variable that says where cargo builds.
pub const TARGET_DIR: &str = "CARGO_TARGET_DIR";

/// What chooses the functions of the cloud, and commands that work on a line there, beside everything else.
pub const CLOUD: [&str; 2] = ["--features", "millrace-tests/cloud"];

/// Builds the `millrace` command and all that it is made of; with the cloud's parts where they are asked for.
pub fn workspace(folders: &Folders, cloud: bool) -> Result<()> {
    let mut cargo = self::cargo(folders, "build");
    cargo.args(SELECTION).args(CLOUD.iter().filter(|_| cloud));
    let guess_s = progress::on_all_cores(WORKSPACE_S);
    progress::timed(
        folders,
        "build",
        "build the workspace",
        guess_s,
        |progress| counted(folders, "build", cargo, progress),
    )?;
    let millrace = folders.millrace();
    anyhow::ensure!(millrace.exists(), "cargo built no {}", millrace.display());
    Ok(())
}

/// The guests for tests: one that misbehaves in every way that a plugin can, and the step that the README adds.
const EXAMPLES: [&str; 2] = ["misbehave", "no-bundled"];

/// Builds the guests for tests.
pub fn example_guests(folders: &Folders) -> Result<()> {
    let environment: Environment = wasm::toolchain(folders)?;
    let mut cargo = cargo(folders, "build");
    cargo
        .args([
            "--profile",
            "guest",
            "--target",
            wasm::TARGET,
            "-p",
            "millrace-sdk",
        ])
        .envs(environment);
    cargo.args(EXAMPLES.iter().flat_map(|example| ["--example", example]));
    progress::timed(
        folders,
        "examples",
        "build the guests for tests",
        30,
        |progress| counted(folders, "examples", cargo, progress),
    )?;
    let made = folders.target.join(wasm::TARGET).join("guest/examples");
    for example in EXAMPLES {
        // rustc writes a crate's name with an underscore.
        let made = made.join(format!("{}.wasm", example.replace('-', "_")));
        let made = std::fs::read(&made).with_context(|| format!("read {}", made.display()))?;
        crate::folders::write(
            &folders
                .plugins()
                .join("examples")
                .join(format!("{example}.wasm")),
            made,
        )?;
    }
    Ok(())
}

/// Builds the guests and puts their components into one folder, as `NAME.wasm`.
pub fn guests(folders: &Folders) -> Result<()> {
    let environment: Environment = wasm::toolchain(folders)?;
    let mut cargo = cargo(folders, "build");
    cargo
        .args(["--profile", "guest", "--target", wasm::TARGET])
        .envs(environment);
    for guest in GUESTS {
        cargo.args(["-p", &format!("plugin-{guest}")]);
    }
    progress::timed(folders, "guests", "build the plugins", 60, |progress| {
        counted(folders, "guests", cargo, progress)
    })?;
    std::fs::create_dir_all(folders.plugins())?;
    for guest in GUESTS {
        let made = folders
            .target
            .join(wasm::TARGET)
            .join("guest")
            .join(format!("plugin_{guest}.wasm"));
        let copy = folders.plugins().join(format!("{guest}.wasm"));
        std::fs::copy(&made, &copy).with_context(|| format!("copy {}", made.display()))?;
    }
    Ok(())
}

/// cargo, in the workspace and with the build folder.
pub fn cargo(folders: &Folders, verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .arg(verb)
        .current_dir(&folders.workspace)
        .env(TARGET_DIR, &folders.target);
    command
}

/// The target that cargo builds for without being told: this machine's.
pub fn host() -> Result<String> {
    let said = command::output_of(Command::new("rustc").arg("-vV"))?;
    Ok(said
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?
        .to_owned())
}

/// `CARGO_TARGET_WASM32_WASIP2_LINKER`: the variable by which cargo is told something about a target.
pub fn variable_of_target(target: &str, what: &str) -> String {
    format!(
        "CARGO_TARGET_{}_{what}",
        target.replace(['-', '.'], "_").to_uppercase()
    )
}

/// Runs cargo and counts what it has built. How much there is to build it tells to nobody; the last run's count is as good.
pub fn counted(
    folders: &Folders,
    name: &str,
    mut cargo: Command,
    progress: &Progress,
) -> Result<()> {
    let log = folders.log(name);
    crate::folders::write(&log, "")?;
    cargo
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo
        .stderr(std::fs::File::create(&log)?)
        .spawn()
        .context("start cargo")?;
    let memory = folders.cache.join("times").join(format!("{name}.units"));
    let expected: Option<u64> = std::fs::read_to_string(&memory)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let mut built = 0;
    for line in BufReader::new(child.stdout.take().context("a pipe was asked for")?).lines() {
        if line?.starts_with("{\"reason\":\"compiler-artifact\"") {
            built += 1;
            progress.set(said(built, expected));
        }
    }
    if !child.wait()?.success() {
        let text = std::fs::read_to_string(&log)?;
        bail!(
            "cargo could not build it:\n{}\n(all of it in {})",
            command::tail(&text, 40),
            log.display()
        );
    }
    let _ = crate::folders::write(&memory, built.to_string()); // a count that is lost costs nothing
    Ok(())
}

fn said(built: u64, expected: Option<u64>) -> String {
    match expected {
        Some(all) if all >= built => format!("{built} of {all} crates"),
        Some(_) | None => format!("{built} crates"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_that_was_passed_is_not_shown() {
        assert_eq!(
            [said(3, Some(10)), said(11, Some(10)), said(3, None)],
            ["3 of 10 crates", "11 crates", "3 crates"]
        );
    }
}
