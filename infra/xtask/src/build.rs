//! Building the line, its guests and its tests.

use crate::cargo::{cargo, counted};
use crate::command::niced;
use crate::folders::Folders;
use crate::progress::{self, Progress};
use crate::wasm;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// The `millrace` command, which is the whole line. `runners/cli/Cargo.toml` sees to it that its dependencies serve [`SELECTION`] too.
const LINE: [&str; 2] = ["-p", "millrace-cli"];

/// What the tests are made of: all but what is built for wasm32-wasip2. Every command that builds or runs tests has to say the same:
/// other packages bring other features, and cargo compiles a dependency again for them.
pub const SELECTION: [&str; 5] = [
    "--workspace",
    "--exclude",
    "plugin-*",
    "--exclude",
    "millrace-sdk",
];

/// The targets that tests are made of. Without these words cargo builds the examples too, which no test runs.
pub const TARGETS: [&str; 3] = ["--lib", "--bins", "--tests"];

/// Optimizes our own crates. Dependencies have lines of their own in the profile, and stay as they were compiled.
const MEASURED: [&str; 4] = [
    "--config",
    "profile.dev.opt-level=1",
    "--config",
    "profile.dev.package.millrace-core.opt-level=3",
];

/// Adds the functions of the cloud, and the commands that work on a line there.
pub const CLOUD: [&str; 2] = ["--features", "millrace-tests/cloud"];

/// The guests, each named for its step.
pub const GUESTS: [&str; 3] = ["source", "rpm", "check"];

/// The guests for tests: one that misbehaves in every way that a plugin can, and the step that the README adds.
const EXAMPLES: [&str; 2] = ["misbehave", "no-bundled"];

/// How long the first build of the line takes, in seconds, on two cores that do nothing else.
const LINE_S: u64 = 300;

/// The same for all that the tests need.
const WORKSPACE_S: u64 = 540;

/// Builds `millrace` and the guests: all that the demo runs.
pub fn line(folders: &Folders) -> Result<()> {
    let mut millrace = cargo(folders, "build");
    millrace.args(LINE);
    let guests = guests_command(folders)?;
    timed(folders, "line", "build the line", LINE_S, |progress| {
        beside(folders, guests, || {
            counted(folders, "line", millrace, progress)
        })
    })?;
    copy_guests(folders)?;
    ensure_millrace(folders)
}

/// Builds all programs but the guests; with the cloud's parts, if `cloud`.
pub fn workspace(folders: &Folders, cloud: bool) -> Result<()> {
    select(folders, "build", "build the workspace", cloud, &[])
}

/// Builds the same to be measured: our own crates are optimized, which the profile leaves out for the sake of compile time.
pub fn measured(folders: &Folders) -> Result<()> {
    select(
        folders,
        "build-measured",
        "build the workspace, optimized",
        false,
        &MEASURED,
    )
}

/// Builds the same, and the tests.
pub fn tests(folders: &Folders, cloud: bool) -> Result<()> {
    let title = "build the workspace and its tests";
    select(folders, "build-tests", title, cloud, &TARGETS)
}

fn select(folders: &Folders, name: &str, title: &str, cloud: bool, words: &[&str]) -> Result<()> {
    let mut cargo = cargo(folders, "build");
    cargo.args(SELECTION).args(words);
    cargo.args(CLOUD.iter().filter(|_| cloud));
    timed(folders, name, title, WORKSPACE_S, |progress| {
        counted(folders, name, cargo, progress)
    })?;
    ensure_millrace(folders)
}

/// Builds the guests and copies their components into one folder, as `NAME.wasm`.
pub fn guests(folders: &Folders) -> Result<()> {
    let cargo = guests_command(folders)?;
    progress::timed(folders, "guests", "build the plugins", 30, |progress| {
        counted(folders, "guests", cargo, progress)
    })?;
    copy_guests(folders)
}

/// Builds the guests for tests.
pub fn example_guests(folders: &Folders) -> Result<()> {
    let mut cargo = wasm_command(folders)?;
    cargo.args(["-p", "millrace-sdk"]);
    cargo.args(EXAMPLES.iter().flat_map(|example| ["--example", example]));
    progress::timed(
        folders,
        "examples",
        "build the guests for tests",
        30,
        |progress| counted(folders, "examples", cargo, progress),
    )?;
    for example in EXAMPLES {
        // rustc writes a crate's name with an underscore.
        let built = format!("examples/{}.wasm", example.replace('-', "_"));
        copy(
            &wasm_folder(folders).join(built),
            &folders
                .plugins()
                .join("examples")
                .join(format!("{example}.wasm")),
        )?;
    }
    Ok(())
}

fn timed(
    folders: &Folders,
    name: &str,
    title: &str,
    two_cores_s: u64,
    work: impl FnOnce(&Progress) -> Result<()>,
) -> Result<()> {
    let guess_s = progress::on_all_cores(two_cores_s);
    progress::timed(folders, name, title, guess_s, work)
}

/// Builds the guests with the time that `work` leaves over: a build of the workspace ends with crates that wait for each other.
fn beside(folders: &Folders, guests: Command, work: impl FnOnce() -> Result<()>) -> Result<()> {
    std::thread::scope(|scope| {
        let guests =
            scope.spawn(|| counted(folders, "guests", niced(&guests), &Progress::default()));
        work()?;
        guests.join().expect("building does not panic")
    })
}

fn guests_command(folders: &Folders) -> Result<Command> {
    let mut cargo = wasm_command(folders)?;
    cargo.args(
        GUESTS
            .iter()
            .flat_map(|guest| ["-p".to_owned(), format!("plugin-{guest}")]),
    );
    Ok(cargo)
}

fn wasm_command(folders: &Folders) -> Result<Command> {
    let environment = wasm::toolchain(folders)?;
    let mut cargo = cargo(folders, "build");
    cargo
        .args(["--profile", "guest", "--target", wasm::TARGET])
        .envs(environment);
    Ok(cargo)
}

fn wasm_folder(folders: &Folders) -> std::path::PathBuf {
    folders.target.join(wasm::TARGET).join("guest")
}

fn copy_guests(folders: &Folders) -> Result<()> {
    for guest in GUESTS {
        copy(
            &wasm_folder(folders).join(format!("plugin_{guest}.wasm")),
            &folders.plugins().join(format!("{guest}.wasm")),
        )?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = std::fs::read(from).with_context(|| format!("read {}", from.display()))?;
    crate::folders::write(to, bytes)
}

fn ensure_millrace(folders: &Folders) -> Result<()> {
    let millrace = folders.millrace();
    ensure!(millrace.exists(), "cargo built no {}", millrace.display());
    Ok(())
}
