//! The functions' programs: built small, and packed as Lambda takes them.

use crate::build::{cargo, counted};
use crate::command::{self, logged};
use crate::folders::{self, Folders};
use crate::progress;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// The functions that are programs of their own.
pub const PROGRAMS: [&str; 5] = ["listener", "orchestrator", "releaser", "signer", "web"];

/// The profile that they are built with; `Cargo.toml` says why it is as it is.
const PROFILE: &str = "lambda";

/// What building them takes the first time, in seconds, on a machine with two cores: everything is optimized anew.
const BUILD_S: u64 = 1500;

/// A program that takes every call and does nothing (AWS Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes").
const NOTHING: &str = r#"#!/usr/bin/env python3
import os, urllib.request
calls = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation/"
while True:
    call = urllib.request.urlopen(calls + "next").headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(urllib.request.Request(calls + call + "/response", data=b"null", method="POST"))
"#;

/// A program, packed.
#[derive(Debug)]
pub struct Packed {
    /// `listener.zip`
    pub name: String,
    /// Where it lies.
    pub file: PathBuf,
}

/// All programs, and a name for this state of them.
#[derive(Debug)]
pub struct Programs {
    /// They.
    pub packed: Vec<Packed>,
    /// From what is in them: other programs have another name, and the same have the same.
    pub state: String,
}

/// Builds the programs for this machine's architecture; the folder where they lie.
pub fn build(folders: &Folders) -> Result<PathBuf> {
    let mut build = cargo(folders, "build");
    build.args(["--profile", PROFILE]);
    for program in PROGRAMS {
        build.args(["-p", &format!("millrace-{program}"), "--features", &format!("millrace-{program}/lambda")]);
    }
    // Lambda's machines have neither libgit2 nor, so far as anybody promises, OpenSSL.
    build.args(["--features", "millrace-listener/vendored"]);
    let guess_s = progress::on_all_cores(BUILD_S);
    progress::timed(folders, "functions", "build the functions", guess_s, |progress| {
        counted(folders, "functions", build, progress)
    })?;
    Ok(folders.target.join(PROFILE))
}

/// Builds and packs them.
pub fn make(folders: &Folders) -> Result<Programs> {
    let built = build(folders)?;
    let (place, mut packed, mut state) = (folders.cache.join("cloud/programs"), Vec::new(), Sha256::new());
    folders::fresh(&place)?;
    for program in PROGRAMS {
        let made = built.join(format!("millrace-{program}"));
        let bytes = std::fs::read(&made).with_context(|| made.display().to_string())?;
        state.update(Sha256::digest(&bytes));
        // Lambda runs what is called `bootstrap` (AWS Lambda Developer Guide, "Building a custom runtime").
        let (folder, file) = (place.join(program), place.join(format!("{program}.zip")));
        folders::write(&folder.join("bootstrap"), bytes)?;
        std::fs::set_permissions(folder.join("bootstrap"), std::fs::metadata(&made)?.permissions())?;
        let mut zip = Command::new("python3");
        zip.args(["-m", "zipfile", "-c"]).arg(&file).arg("bootstrap").current_dir(&folder);
        logged(&mut zip, &folders.log("zip"))?;
        packed.push(Packed { name: format!("{program}.zip"), file });
    }
    Ok(Programs { packed, state: hexadecimal(&state.finalize()) })
}

/// Programs that do nothing, for where nobody runs them.
pub fn none(folders: &Folders) -> Result<Programs> {
    let place = folders.cache.join("cloud/no-programs");
    folders::fresh(&place)?;
    folders::write(&place.join("bootstrap"), NOTHING)?;
    std::fs::set_permissions(place.join("bootstrap"), std::fs::Permissions::from_mode(0o755))?;
    let pack = |program: &str| {
        let file = place.join(format!("{program}.zip"));
        let mut zip = Command::new("python3");
        zip.args(["-m", "zipfile", "-c"]).arg(&file).arg("bootstrap").current_dir(&place);
        logged(&mut zip, &folders.log("zip"))?;
        Ok(Packed { name: format!("{program}.zip"), file })
    };
    Ok(Programs { packed: PROGRAMS.into_iter().map(pack).collect::<Result<_>>()?, state: "none".to_owned() })
}

/// The name that Lambda has for the architecture that they are built for.
pub fn architecture() -> Result<&'static str> {
    let host = command::output_of(Command::new("uname").arg("-m"))?;
    match host.trim() {
        "x86_64" => Ok("x86_64"),
        "aarch64" => Ok("arm64"),
        other => {
            ensure!(false, "AWS Lambda has no {other}: deploy from a machine with x86_64 or aarch64");
            unreachable!("ensured above")
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
