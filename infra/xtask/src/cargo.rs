//! Running cargo: where it builds, for which target, and how far it is.

use crate::command;
use crate::folders::Folders;
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The variable that says where cargo builds.
pub const TARGET_DIR: &str = "CARGO_TARGET_DIR";

/// What cargo tells the program that it runs, this one, of its package (The Cargo Book, "Environment Variables"). Build scripts that depend on
/// these variables (ring's do) would run again, and all that is built of them, if a cargo below had other values than one in a shell.
const OWN_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// cargo, in the workspace and with the build folder.
pub fn cargo(folders: &Folders, verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .arg(verb)
        .current_dir(&folders.workspace)
        .env(TARGET_DIR, &folders.target);
    for (name, _) in std::env::vars_os() {
        let is_own = |begin: &&str| name.as_encoded_bytes().starts_with(begin.as_bytes());
        if OWN_PACKAGE.iter().any(is_own) {
            command.env_remove(&name);
        }
    }
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
