//! Commands that look at what is released, and go back to what was.

use crate::arguments::Release;
use crate::ending::NotFound;
use crate::output::Output;
use crate::state::{Folder, now};
use anyhow::Result;
use millrace_core::Timestamp;
use millrace_releaser::{
    GenerationRef, GenerationSummary, ReleaseError, RollbackOutcome, history, remove, rollback,
};
use serde_json::{Value, json};

pub(super) async fn release(folder: &Folder, output: Output, command: Release) -> Result<()> {
    let store = folder.store().await?;
    match command {
        Release::List { platform, limit } => {
            let found = history(&platform, limit, &store).await?;
            let found = found.ok_or_else(|| {
                NotFound(format!(
                    "no platform `{platform}`: `millrace platform list`"
                ))
            })?;
            let values: Vec<Value> = found.iter().map(as_json).collect();
            output.list(&values, "nothing to list: --limit is 0", line)
        }
        Release::Remove { platform, package } => {
            let seal = folder.seal().await?;
            let removed = remove(&platform, &package, &seal, &store, &store, now())
                .await
                .map_err(|error| match error {
                    ReleaseError::NotReleased { .. } => NotFound(error.to_string()).into(),
                    other => anyhow::Error::from(other),
                })?;
            let GenerationRef { generation, number } = removed.generation;
            let value = json!({"platform": platform, "number": number, "generation": generation, "removed": removed.packages});
            output.one(&value, |_| {
                let packages: Vec<&str> = removed.packages.iter().map(String::as_str).collect();
                format!(
                    "platform {platform}: generation {number} is current now, without\n  {}",
                    packages.join("\n  ")
                )
            })
        }
        Release::Rollback { platform, number } => {
            let became = rollback(&platform, number, &folder.seal().await?, &store, now())
                .await
                .map_err(|error| match error {
                    ReleaseError::NoGeneration { .. } => {
                        NotFound(format!("{error}: `millrace release list {platform}`")).into()
                    }
                    other => anyhow::Error::from(other),
                })?;
            let (RollbackOutcome::Restored(GenerationRef {
                generation,
                number: current,
            })
            | RollbackOutcome::Unchanged(GenerationRef {
                generation,
                number: current,
            })) = became;
            let changed = matches!(became, RollbackOutcome::Restored(_));
            let value = json!({"platform": platform, "number": current, "generation": generation, "changed": changed});
            output.one(&value, |_| match changed {
                true => {
                    format!("platform {platform}: generation {current} is current now, with the packages of generation {number}")
                }
                false => format!(
                    "platform {platform}: generation {current} is current, as before: it has the packages of generation {number}"
                ),
            })
        }
    }
}

fn as_json(past: &GenerationSummary) -> Value {
    let GenerationSummary {
        number,
        generation,
        released_s,
        packages,
        added,
    } = past;
    let released = Timestamp(released_s.saturating_mul(1000)).rfc3339();
    json!({"number": number, "generation": generation, "released": released, "packages": packages, "added": added})
}

fn line(past: &Value) -> String {
    let added: Vec<&str> = past["added"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let (number, packages) = (past["number"].to_string(), past["packages"].to_string());
    let line = format!(
        "{number:>6}  {}  {packages:>6} packages  {}",
        past["released"].as_str().unwrap_or(""),
        added.join(" ")
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use crate::commands::run;
    use clap::Parser;
    use millrace_core::header::read_head;
    use millrace_core::order::{OrderedFile, ReleaseOrder};
    use millrace_core::platform::Platform;
    use millrace_core::{BuildId, Digest};
    use millrace_store::BlobStore;
    use millrace_store::local::LocalStore;
    use std::path::Path;
    use std::process::{Command, ExitCode};

    const PLATFORM: &str = r#"
name = "el-9"
architectures = ["x86_64"]
releasever = "9"
key = "default"
repositories = []
buildroot = { packages = [], minimal = [] }
steps = [{ name = "rpm", plugin = "rpm", on = "build-arch", releases = true }]
"#;

    const SPEC: &str = "\
Name: tally
Version: 1
Release: 1
Summary: Nothing
License: MIT
BuildArch: noarch
%description
Nothing.
%files
";

    /// What `millrace --state FOLDER ...` ends with.
    fn millrace(folder: &Path, arguments: &[&str]) -> ExitCode {
        let words = ["millrace", "--state", folder.to_str().unwrap()]
            .into_iter()
            .chain(arguments.iter().copied());
        run(Arguments::parse_from(words))
    }

    /// A package that rpmbuild makes, in the store and ordered.
    async fn ordered(folder: &Path, store: &LocalStore) -> OrderedFile {
        let spec = folder.join("tally.spec");
        std::fs::write(&spec, SPEC).unwrap();
        let mut rpmbuild = Command::new("rpmbuild");
        rpmbuild
            .args(["--quiet", "-bb", "--define"])
            .arg(format!("_topdir {}", folder.display()))
            .arg(spec);
        let output = rpmbuild.output().unwrap();
        assert!(
            output.status.success(),
            "rpmbuild: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let name = "tally-1-1.noarch.rpm".to_owned();
        let bytes = std::fs::read(folder.join("RPMS/noarch").join(&name)).unwrap();
        let rpm = read_head(&bytes).unwrap().header.rpm().unwrap();
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        store.put(bytes).await.unwrap();
        OrderedFile {
            name,
            digest,
            size,
            rpm,
        }
    }

    #[test]
    fn a_generation_is_a_line() {
        let added = ["0123456789ab", "ba9876543210"]
            .map(|build| BuildId::new(build).unwrap())
            .to_vec();
        let past = GenerationSummary {
            number: 7,
            generation: Digest::of(b""),
            released_s: 1_800_000_000,
            packages: 12,
            added,
        };
        assert_eq!(
            line(&as_json(&past)),
            "     7  2027-01-15T08:00:00Z      12 packages  0123456789ab ba9876543210"
        );
        let empty = GenerationSummary {
            added: vec![],
            ..past
        };
        assert_eq!(
            line(&as_json(&empty)),
            "     7  2027-01-15T08:00:00Z      12 packages"
        );
    }

    #[test]
    fn a_release_is_listed_and_rolled_back_once() {
        let (work, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, state) = (work.path().join("el-9.toml"), state.path());
        std::fs::write(&file, PLATFORM).unwrap();
        assert_eq!(
            millrace(
                state,
                &["key", "create", "default", "--algorithm", "ed25519"]
            ),
            ExitCode::SUCCESS
        );
        assert_eq!(
            millrace(state, &["platform", "add", file.to_str().unwrap()]),
            ExitCode::SUCCESS
        );
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = Folder::open(Some(state)).unwrap();
        let store = folder.local().unwrap();
        let platform = Platform::parse("el-9.toml", PLATFORM).unwrap();
        let seal = runtime.block_on(folder.seal()).unwrap();
        runtime.block_on(async {
            let files = vec![ordered(work.path(), &store).await];
            let order = ReleaseOrder::new(
                BuildId::new("0123456789ab").unwrap(),
                "tally".parse().unwrap(),
                &platform,
                0,
                files,
            );
            millrace_releaser::publish(&order, &seal, &store, now())
                .await
                .unwrap();
        });
        let newest = || {
            runtime
                .block_on(history(&platform.name, 1, &store))
                .unwrap()
                .unwrap()
                .remove(0)
        };
        assert_eq!((newest().number, newest().packages), (2, 1));

        assert_eq!(
            millrace(state, &["release", "list", "el-9"]),
            ExitCode::SUCCESS
        );
        assert_eq!(
            millrace(
                state,
                &["--json", "release", "list", "el-9", "--limit", "1"]
            ),
            ExitCode::SUCCESS
        );
        for missing in [
            &["list", "el-8"][..],
            &["rollback", "el-8", "1"],
            &["rollback", "el-9", "7"],
        ] {
            assert_eq!(
                millrace(state, &[&["release"], missing].concat()),
                ExitCode::from(3),
                "{missing:?}"
            );
        }
        assert_eq!(newest().number, 2);
        for _ in 0..2 {
            assert_eq!(
                millrace(state, &["release", "rollback", "el-9", "1"]),
                ExitCode::SUCCESS
            );
            assert_eq!((newest().number, newest().packages), (3, 0));
        }
    }
}
