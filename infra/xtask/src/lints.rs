//! Form, lints and documentation.

use crate::build::CLOUD;
use crate::cargo::{TARGET_DIR, cargo};
use crate::command::{logged, niced};
use crate::folders::Folders;
use crate::progress::{self, spoken_exactly};
use anyhow::{Context, Result};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Everything but the plugins, for which this machine's standard library is the wrong one.
const SELECTION: [&str; 3] = ["--workspace", "--exclude", "plugin-*"];

/// What the lints said, and how long they took.
#[derive(Debug)]
pub struct LintReport {
    /// The checks that this toolchain does not have; or what is wrong.
    pub result: Result<Vec<String>>,
    /// For people, one per check.
    pub times: Vec<(&'static str, Duration)>,
}

/// Whether everything is formatted.
pub fn form(folders: &Folders) -> Result<()> {
    if !has(folders, "fmt") {
        return Ok(());
    }
    let mut command = cargo(folders, "fmt");
    command.args(["--all", "--check"]);
    progress::timed(folders, "fmt", "form (cargo fmt)", 2, |_| {
        logged(&mut command, &folders.log("fmt"))
    })
}

/// Lints and documentation, with the time that tests leave over, which wait more than they compute.
pub fn beside_tests(folders: &Folders) -> LintReport {
    let mut report = LintReport {
        result: Ok(Vec::new()),
        times: Vec::new(),
    };
    let mut missing = Vec::new();
    for check in [Check::Clippy, Check::Doc] {
        if !has(folders, check.verb()) {
            missing.push(format!("cargo {} (rustup has it)", check.verb()));
            continue;
        }
        let begin = Instant::now();
        let result = logged(&mut check.command(folders), &folders.log(check.verb()));
        let time = begin.elapsed();
        report.times.push((check.title(), time));
        let mark = if result.is_ok() { '✓' } else { '✗' };
        eprintln!("{mark} {}  {}", check.title(), spoken_exactly(time));
        if let Err(error) = result {
            report.result = Err(error).context(check.title());
            return report;
        }
    }
    if !has(folders, "fmt") {
        missing.push("cargo fmt (rustup has it)".to_owned());
    }
    report.result = Ok(missing);
    report
}

#[derive(Debug, Clone, Copy)]
enum Check {
    Clippy,
    Doc,
}

impl Check {
    const fn verb(self) -> &'static str {
        match self {
            Self::Clippy => "clippy",
            Self::Doc => "doc",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Clippy => "lints (cargo clippy)",
            Self::Doc => "documentation (cargo doc)",
        }
    }

    /// Both with the same features, so that the second finds its dependencies checked.
    fn command(self, folders: &Folders) -> Command {
        let mut command = cargo(folders, self.verb());
        // A folder of their own: what they compile is of no use to a build, which would wait for them.
        command.env(TARGET_DIR, folders.target.with_file_name("clippy"));
        command.args(SELECTION).args(CLOUD);
        match self {
            Self::Clippy => command.args(["--all-targets", "--", "-D", "warnings"]),
            Self::Doc => command.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings"),
        };
        niced(&command)
    }
}

/// Whether this toolchain has a verb of cargo's.
fn has(folders: &Folders, verb: &str) -> bool {
    let mut version = cargo(folders, verb);
    let status = version
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    verb == "doc" || status.is_ok_and(|status| status.success())
}
