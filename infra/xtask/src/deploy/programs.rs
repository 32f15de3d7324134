//! The functions' programs: built small, and packed as Lambda takes them.

use crate::cargo::{cargo, counted, variable_of_target};
use crate::command::{self, logged};
use crate::folders::{self, Folders};
use crate::hex::hex;
use crate::{progress, pypi};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// The functions that are programs of their own.
pub const PROGRAMS: [&str; 6] = [
    "listener",
    "orchestrator",
    "releaser",
    "signer",
    "source",
    "web",
];

/// The profile that they are built with; `Cargo.toml` says why it is as it is.
const PROFILE: &str = "lambda";

/// What building them takes the first time, in seconds, on a machine with two cores: everything is optimized again.
const BUILD_S: u64 = 1500;

/// What builds for another architecture, with the digest of each file.
const CROSS: &str = "infra/xtask/src/deploy/cross-requirements.txt";

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
    pub file: PathBuf,
}

/// All programs, and a name for this state of them.
#[derive(Debug)]
pub struct Programs {
    pub packed: Vec<Packed>,
    /// From what is in them: other programs have another name, and the same have the same.
    pub state: String,
}

/// An architecture that Lambda has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// As most machines on which one deploys.
    X86_64,
    /// A fifth cheaper than the other.
    Arm64,
}

impl Architecture {
    /// This machine's.
    pub fn here() -> Result<Self> {
        let host = command::output_of(Command::new("uname").arg("-m"))?;
        match host.trim() {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Arm64),
            other => bail!(
                "AWS Lambda has no {other}: say --parameter FunctionArchitecture=x86_64, or arm64"
            ),
        }
    }

    /// By the name that Lambda has for it.
    pub fn named(name: &str) -> Result<Self> {
        let named = [Self::X86_64, Self::Arm64]
            .into_iter()
            .find(|known| known.as_str() == name);
        named.with_context(|| {
            format!("AWS Lambda has no architecture `{name}`: it has x86_64 and arm64")
        })
    }

    /// The name that Lambda has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name that Rust has for it.
    const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// What the compiler is told besides the profile. Programs that abort where they panic need no tables for unwinding. Rust's own linker
/// for x86_64 keeps one of all functions that came out the same, which other linkers cannot. Lambda's arm64 machines are Graviton2 or
/// newer, and have instructions for the checksums that there are large tables for elsewhere.
fn flags(architecture: Architecture, is_here: bool) -> String {
    let more = match architecture {
        Architecture::X86_64 if is_here => " -C link-arg=-Wl,--icf=all",
        Architecture::X86_64 => "",
        Architecture::Arm64 => " -C target-cpu=neoverse-n1",
    };
    format!("-C force-unwind-tables=no{more}")
}

/// The glibc of Amazon Linux 2023, on which functions run (AWS Lambda Developer Guide, "Lambda runtimes").
const GLIBC: &str = "2.34";

/// A cargo that builds for the other architecture: zig is a linker and a C compiler for both.
fn cross(folders: &Folders, architecture: Architecture) -> Result<Command> {
    let target = architecture.target();
    let add = command::output_of(Command::new("rustup").args(["target", "add", target]));
    add.with_context(|| {
        format!(
            "`rustup target add {target}` is what building for {} needs",
            architecture.as_str()
        )
    })?;
    let tools = pypi::install(
        folders,
        "cross",
        "install a compiler for the other architecture",
        CROSS,
    )?;
    let mut build = cargo(folders, "zigbuild");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools).chain(std::env::split_paths(&path).collect::<Vec<_>>());
    build
        .env("PATH", std::env::join_paths(path)?)
        .args(["--target", &format!("{target}.{GLIBC}")]);
    Ok(build)
}

/// Builds the programs for an architecture; the folder where they lie.
pub fn build(folders: &Folders, architecture: Architecture) -> Result<PathBuf> {
    let target = architecture.target();
    let is_here = Architecture::here().is_ok_and(|here| here == architecture);
    let mut build = if is_here {
        let mut build = cargo(folders, "build");
        build.args(["--target", target]);
        build
    } else {
        cross(folders, architecture)?
    };
    build.args(["--profile", PROFILE]).env(
        variable_of_target(target, "RUSTFLAGS"),
        flags(architecture, is_here),
    );
    for program in PROGRAMS {
        build.args([
            "-p",
            &format!("millrace-{program}"),
            "--features",
            &format!("millrace-{program}/lambda"),
        ]);
    }
    // Lambda's machines have no libgit2.
    build.args(["--features", "millrace-source/vendored"]);
    let guess_s = progress::on_all_cores(BUILD_S);
    let name = format!("functions-{}", architecture.as_str());
    let title = format!("build the functions for {}", architecture.as_str());
    progress::timed(folders, &name, &title, guess_s, |progress| {
        counted(folders, &name, build, progress)
    })?;
    Ok(folders.target.join(target).join(PROFILE))
}

/// Builds and packs them.
pub fn make(folders: &Folders, architecture: Architecture) -> Result<Programs> {
    let built = build(folders, architecture)?;
    let place = folders.cache.join("cloud/programs");
    let mut packed = Vec::new();
    let mut state = Sha256::new();
    folders::fresh(&place)?;
    for program in PROGRAMS {
        let made = built.join(format!("millrace-{program}"));
        let bytes = std::fs::read(&made).with_context(|| made.display().to_string())?;
        state.update(Sha256::digest(&bytes));
        // Lambda runs what is called `bootstrap` (AWS Lambda Developer Guide, "Building a custom runtime").
        let folder = place.join(program);
        let file = place.join(format!("{program}.zip"));
        folders::write(&folder.join("bootstrap"), bytes)?;
        std::fs::set_permissions(
            folder.join("bootstrap"),
            std::fs::metadata(&made)?.permissions(),
        )?;
        let mut zip = Command::new("python3");
        zip.args(["-m", "zipfile", "-c"])
            .arg(&file)
            .arg("bootstrap")
            .current_dir(&folder);
        logged(&mut zip, &folders.log("zip"))?;
        packed.push(Packed {
            name: format!("{program}.zip"),
            file,
        });
    }
    Ok(Programs {
        packed,
        state: hex(&state.finalize()[..8]),
    })
}

/// Programs that do nothing, for where nobody runs them.
pub fn none(folders: &Folders) -> Result<Programs> {
    let place = folders.cache.join("cloud/no-programs");
    folders::fresh(&place)?;
    folders::write(&place.join("bootstrap"), NOTHING)?;
    std::fs::set_permissions(
        place.join("bootstrap"),
        std::fs::Permissions::from_mode(0o755),
    )?;
    let pack = |program: &str| {
        let file = place.join(format!("{program}.zip"));
        let mut zip = Command::new("python3");
        zip.args(["-m", "zipfile", "-c"])
            .arg(&file)
            .arg("bootstrap")
            .current_dir(&place);
        logged(&mut zip, &folders.log("zip"))?;
        Ok(Packed {
            name: format!("{program}.zip"),
            file,
        })
    };
    Ok(Programs {
        packed: PROGRAMS.into_iter().map(pack).collect::<Result<_>>()?,
        state: "none".to_owned(),
    })
}
