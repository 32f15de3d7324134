//! The invariants: what must hold when a round is over, by the line's own records, by its repositories as clients read them, and by the machine.

use crate::packages::End;
use crate::place::{ChaosLine, runner_name};
use crate::plan::{Fault, Push, Trouble};
use anyhow::{Context, Result};
use millrace_core::Digest;
use millrace_tests::up::run;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Attempts without a verdict after which a task is quarantined.
const QUARANTINE: usize = millrace_core::task::LEASES_MAX;

/// A trouble this long may end a lease; renewals are written down every quarter of one.
const ENDS_A_LEASE_MS: u64 = millrace_core::task::LEASE_MS * 3 / 4;

/// A trouble, and the runner that it has met.
pub type Met = (Trouble, Option<usize>);

/// What a build is told to be in a round's line.
pub fn end_of(build: &Value) -> String {
    match build["state"].as_str() {
        Some("failed") if tasks(build).any(|task| task["state"] == "quarantined") => {
            "quarantined".to_owned()
        }
        state => state.unwrap_or("?").to_owned(),
    }
}

/// The tasks of a build, without signing and releasing.
pub fn tasks(build: &Value) -> impl Iterator<Item = &Value> {
    build["pipeline"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|task| task["kind"] == "task")
}

/// The attempts at a task.
pub fn attempts(task: &Value) -> &[Value] {
    task["attempts"].as_array().map_or(&[], Vec::as_slice)
}

/// What is wrong with the builds of a push, after these troubles.
pub fn of_builds(push: &Push, builds: &[Value], met: &[Met]) -> Vec<String> {
    let name = push.kind.name();
    let [build] = builds else {
        return vec![format!(
            "of one push of {name} came {} builds",
            builds.len()
        )];
    };
    let mut problems: Vec<String> = tasks(build)
        .flat_map(|task| of_attempts(build, task, met))
        .collect();
    let quarantined = tasks(build).find(|task| task["state"] == "quarantined");
    let failed = tasks(build).find(|task| task["state"] == "failed");
    let is_right = match (push.kind.end(), quarantined) {
        (_, Some(task)) => attempts(task).len() >= QUARANTINE,
        (End::Released, None) => build["state"] == "released",
        (End::Cancelled, None) => build["state"] == "cancelled",
        (End::Failed(step, words), None) => failed.is_some_and(|task| {
            task["step"] == step
                && task["blame"] == "package"
                && task["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.contains(words))
        }),
    };
    if !is_right {
        problems.push(format!(
            "{name} is to be {:?}, and is {}: {}",
            push.kind.end(),
            build["state"],
            told(build)
        ));
    }
    problems
}

/// The state of every task and the ends of its attempts, for the person who must find out.
fn told(build: &Value) -> String {
    let attempt = |attempt: &Value| {
        format!(
            "{} {} {}",
            attempt["runner"], attempt["how"], attempt["reason"]
        )
    };
    let task = |task: &Value| {
        let attempts: Vec<String> = attempts(task).iter().map(attempt).collect();
        format!(
            "{} {} ({}) [{}]",
            task["task"],
            task["state"],
            task["reason"],
            attempts.join(", ")
        )
    };
    let tasks: Vec<String> = tasks(build).map(task).collect();
    format!("{}; {}", build["reason"], tasks.join("; "))
}

fn of_attempts(build: &Value, task: &Value, met: &[Met]) -> Vec<String> {
    let name = format!(
        "{} of {} of {}",
        task["task"], build["id"], build["package"]
    );
    let (mut problems, mut accepted, mut last) = (Vec::new(), 0, 0);
    for attempt in attempts(task) {
        let (number, how) = (
            attempt["number"].as_u64().unwrap_or(0),
            attempt["how"].as_str().unwrap_or(""),
        );
        if number <= last {
            problems.push(format!("{name}: lease {number} came after lease {last}"));
        }
        last = number;
        match how {
            "passed" | "failed" | "excluded" => accepted += 1,
            // Where the build ended first.
            "dropped" => {}
            _ if met
                .iter()
                .any(|(trouble, runner)| explains(trouble, *runner, how, attempt)) => {}
            _ => problems.push(format!(
                "{name}: lease {number} of {} ended as {how}, and nothing that happened is why",
                attempt["runner"]
            )),
        }
    }
    if accepted > 1 {
        problems.push(format!("{name}: {accepted} answers were accepted"));
    }
    problems
}

/// Whether a trouble can be why a lease ended without a verdict.
fn explains(trouble: &Trouble, runner: Option<usize>, how: &str, attempt: &Value) -> bool {
    let its_own = runner.is_some_and(|number| attempt["runner"] == runner_name(number).as_str());
    let long = trouble.lasts_ms >= ENDS_A_LEASE_MS;
    match trouble.what {
        Fault::KillRunner(_) => its_own && matches!(how, "lost" | "returned"),
        Fault::Cut(_) | Fault::Freeze(_) => its_own && (how != "lost" || long),
        Fault::KillSandbox(..) => its_own && how == "troubled",
        // A runner that cannot write may end by that, and comes back without what it had.
        Fault::FillRunner(_) => its_own && matches!(how, "troubled" | "returned"),
        // An offer that was lost on the way; or what a task fetches from the line.
        Fault::KillLine | Fault::Muddle | Fault::FillLine => matches!(how, "returned" | "troubled"),
        // Nobody asks a runner what time it is, and the line gives everybody time to say that they are still at it.
        Fault::JumpLine(_) | Fault::JumpRunner(..) => false,
    }
}

/// Package files in repositories, by name: the digest of each, in the order of the repositories.
#[derive(Debug, Default)]
pub struct Repositories {
    /// Those that were checked whole.
    checked: BTreeSet<String>,
}

impl Repositories {
    /// What is wrong with what is released: by what the builds handed over, each file once, with the digest that metadata names and a good
    /// signature; metadata whole and signed; as many generations as releases.
    pub fn look(&mut self, place: &ChaosLine) -> Result<Vec<String>> {
        let builds: Vec<Value> = lines(&place.say(&["--json", "builds", "--limit", "10000"])?)?;
        let released: Vec<&Value> = builds
            .iter()
            .filter(|build| build["state"] == "released")
            .collect();
        let mut problems = generations(place, &released)?;
        let mut expected: Vec<String> = released.iter().flat_map(|build| files_of(build)).collect();
        expected.sort_unstable();
        let arch = std::env::consts::ARCH;
        let mut found = Vec::new();
        for base in [
            format!("/repo/test-9/{arch}/os"),
            format!("/repo/test-9/{arch}/debug"),
            "/repo/test-9/source".to_owned(),
        ] {
            found.extend(self.repository(place, &base, &mut problems)?);
        }
        found.sort_unstable();
        if found != expected {
            problems.push(format!(
                "in the repositories is {found:?}, and released was {expected:?}"
            ));
        }
        Ok(problems)
    }

    /// The files of one repository.
    fn repository(
        &mut self,
        place: &ChaosLine,
        base: &str,
        problems: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        let repomd = place.get(&format!("{base}/repodata/repomd.xml"))?;
        let signature = place.get(&format!("{base}/repodata/repomd.xml.asc"))?;
        let keys = Keys::of(place)?;
        problems.extend(
            keys.repomd(&repomd, &signature)
                .err()
                .map(|error| format!("{base}: {error:#}")),
        );
        let repomd = String::from_utf8(repomd)?;
        let mut names = Vec::new();
        for data in repomd.split("<data ").skip(1) {
            let (href, digest) = (between(data, "<location href=\"", "\"")?, checksum(data)?);
            let bytes = place.get(&format!("{base}/{href}"))?;
            if Digest::of(&bytes).hex() != digest {
                problems.push(format!("{base}/{href} is not what repomd.xml says"));
            }
            if data.starts_with("type=\"primary\"") {
                names = self.packages(
                    place,
                    base,
                    &unpacked(place, href, &bytes)?,
                    &keys,
                    problems,
                )?;
            }
        }
        Ok(names)
    }

    fn packages(
        &mut self,
        place: &ChaosLine,
        base: &str,
        primary: &str,
        keys: &Keys,
        problems: &mut Vec<String>,
    ) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for package in primary.split("<package ").skip(1) {
            let (href, digest) = (
                between(package, "<location href=\"", "\"")?,
                checksum(package)?,
            );
            let name = href.rsplit('/').next().unwrap_or(href).to_owned();
            // What was whole an hour ago is looked at again only if it is said to be something else now.
            if self.checked.insert(format!("{base}/{href} {digest}")) {
                let bytes = place.get(&format!("{base}/{href}"))?;
                if Digest::of(&bytes).hex() != digest {
                    problems.push(format!("{base}/{href} is not what the metadata says"));
                }
                problems.extend(
                    keys.package(&name, &bytes)
                        .err()
                        .map(|error| format!("{base}/{href}: {error:#}")),
                );
            }
            names.push(name);
        }
        Ok(names)
    }
}

/// The first generation is the empty one that `platform add` makes; each release makes one more, and no build is in two.
fn generations(place: &ChaosLine, released: &[&Value]) -> Result<Vec<String>> {
    let generations =
        lines(&place.say(&["--json", "release", "list", "test-9", "--limit", "10000"])?)?;
    let mut problems = Vec::new();
    let newest = generations
        .iter()
        .filter_map(|generation| generation["number"].as_u64())
        .max()
        .unwrap_or(0);
    if newest != 1 + released.len() as u64 {
        problems.push(format!(
            "{} builds were released, and the newest generation is {newest}",
            released.len()
        ));
    }
    let added = generations
        .iter()
        .flat_map(|generation| generation["added"].as_array().into_iter().flatten());
    let mut added: Vec<&str> = added.filter_map(Value::as_str).collect();
    let mut builds: Vec<&str> = released
        .iter()
        .filter_map(|build| build["id"].as_str())
        .collect();
    added.sort_unstable();
    builds.sort_unstable();
    if added != builds {
        problems.push(format!(
            "the generations name the builds {added:?}, and released were {builds:?}"
        ));
    }
    Ok(problems)
}

/// The packages that a build handed over for release.
fn files_of(build: &Value) -> Vec<String> {
    let artifacts = build["artifacts"].as_array().into_iter().flatten();
    let packages = artifacts.filter(|artifact| !artifact["nevra"].is_null());
    packages
        .filter_map(|artifact| artifact["name"].as_str().map(str::to_owned))
        .collect()
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Result<&'a str> {
    let rest = text
        .split_once(begin)
        .with_context(|| format!("no {begin} in {text}"))?
        .1;
    Ok(rest
        .split_once(end)
        .with_context(|| format!("no {end} in {rest}"))?
        .0)
}

/// The checksum of a `<data>` or a `<package>`, by SHA-256.
fn checksum(text: &str) -> Result<&str> {
    let rest = text
        .split_once("<checksum type=\"sha256\"")
        .context("no checksum by SHA-256")?
        .1;
    between(rest, ">", "<")
}

fn unpacked(place: &ChaosLine, name: &str, bytes: &[u8]) -> Result<String> {
    let file = place.folder.join("primary");
    fs::write(&file, bytes)?;
    let tool = match name.rsplit('.').next() {
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return Ok(String::from_utf8(bytes.to_vec())?),
    };
    Ok(run(Command::new(tool)
        .args(["-d", "-q", "-c"])
        .stdin(fs::File::open(file)?)))
}

/// The line's public key, for gpgv and rpm.
struct Keys {
    folder: PathBuf,
}

impl Keys {
    fn of(place: &ChaosLine) -> Result<Self> {
        let folder = place.folder.join("trust");
        if !folder.exists() {
            fs::create_dir_all(&folder)?;
            fs::write(
                folder.join("key.asc"),
                place.say(&["key", "show", "default"])?,
            )?;
            run(Command::new("gpg")
                .args(["--homedir"])
                .arg(&folder)
                .args(["--quiet", "--output"])
                .arg(folder.join("key.gpg"))
                .args(["--dearmor"])
                .arg(folder.join("key.asc")));
            run(Command::new("rpmkeys")
                .arg("--dbpath")
                .arg(folder.join("rpmdb"))
                .arg("--import")
                .arg(folder.join("key.asc")));
        }
        Ok(Self { folder })
    }

    fn repomd(&self, bytes: &[u8], signature: &[u8]) -> Result<()> {
        let (file, signed) = (
            self.folder.join("repomd.xml"),
            self.folder.join("repomd.xml.asc"),
        );
        fs::write(&file, bytes)?;
        fs::write(&signed, signature)?;
        let mut gpgv = Command::new("gpgv");
        gpgv.arg("--homedir")
            .arg(&self.folder)
            .arg("--keyring")
            .arg(self.folder.join("key.gpg"))
            .args([signed, file]);
        let output = gpgv.output().context("start gpgv")?;
        anyhow::ensure!(
            output.status.success(),
            "repomd.xml is not well signed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn package(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.folder.join(name);
        fs::write(&file, bytes)?;
        let output = Command::new("rpmkeys")
            .arg("--dbpath")
            .arg(self.folder.join("rpmdb"))
            .arg("-Kv")
            .arg(&file)
            .output();
        let output = output.context("start rpmkeys")?;
        fs::remove_file(file)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let is_signed = output.status.success()
            && said
                .lines()
                .any(|line| line.contains("Signature, key ID") && line.ends_with(": OK"));
        anyhow::ensure!(is_signed, "it is not well signed: {said}");
        Ok(())
    }
}

/// A process of the machine.
struct Process {
    id: u32,
    parent: u32,
    words: String,
    folder: PathBuf,
}

impl Process {
    /// Whether it is the one that a runner starts sandboxes by.
    fn is_starter(&self) -> bool {
        fs::read_to_string(self.folder.join("comm")).is_ok_and(|name| name.trim() == "starter")
    }

    fn mounts(&self) -> String {
        fs::read_to_string(self.folder.join("mountinfo")).unwrap_or_default()
    }

    /// Of which namespace it is; none if it is gone by now.
    fn namespace(&self, kind: &str) -> Option<u64> {
        fs::metadata(self.folder.join("ns").join(kind))
            .ok()
            .map(|found| found.ino())
    }
}

/// All that live: of the dead, whose parents have not asked yet, nothing is left but a number.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path();
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let words =
            String::from_utf8_lossy(&fs::read(folder.join("cmdline")).ok()?).replace('\0', " ");
        (!matches!(state, "Z" | "X")).then_some(Process {
            id,
            parent,
            words,
            folder,
        })
    };
    entries.filter_map(read).collect()
}

/// The processes right below one.
pub fn children(of: u32) -> Vec<(u32, String)> {
    processes()
        .into_iter()
        .filter(|process| process.parent == of)
        .map(|process| (process.id, process.words))
        .collect()
}

/// What is left on the machine of sandboxes, while nobody works on anything. `marks` are words of the commands that packages ran.
pub fn left_over(place: &ChaosLine, marks: &[String]) -> Result<Vec<String>> {
    let here = fs::metadata("/proc/self/ns/mnt")?.ino();
    let runners: BTreeMap<u32, String> = place
        .runners
        .iter()
        .enumerate()
        .filter_map(|(number, runner)| Some((runner.process()?, runner_name(number))))
        .collect();
    let folder = place.folder.display().to_string();
    let mut left = Vec::new();
    let networks: Vec<u64> = (0..place.runners.len())
        .filter_map(|number| {
            fs::metadata(Path::new("/run/netns").join(runner_name(number)))
                .ok()
                .map(|found| found.ino())
        })
        .collect();
    let mut with_starter = BTreeSet::new();
    for process in processes() {
        let (id, words) = (process.id, words_of(&process.words));
        let is_starter = runners.contains_key(&process.parent) && process.is_starter();
        if runners.contains_key(&id) || (is_starter && with_starter.insert(process.parent)) {
            continue;
        }
        if let Some(name) = runners.get(&process.parent) {
            left.push(format!("process {id} below {name}: {words}"));
        } else if marks.iter().any(|mark| process.words.contains(mark)) {
            left.push(format!("process {id} of a package: {words}"));
        } else if process
            .namespace("net")
            .is_some_and(|network| networks.contains(&network))
        {
            left.push(format!("process {id} in a runner's network: {words}"));
        } else if process
            .namespace("mnt")
            .is_some_and(|mounts| mounts != here)
            && process.mounts().contains(&folder)
        {
            left.push(format!("process {id} has mounts of {folder}: {words}"));
        }
    }
    left.extend(mounts(place)?);
    left.extend(groups(place));
    for number in 0..place.runners.len() {
        left.extend(entries(
            &place.folder.join(runner_name(number)).join("runner/tasks"),
        ));
    }
    left.extend(entries(&place.folder.join("line/state/incoming")));
    Ok(left)
}

fn words_of(words: &str) -> String {
    words.chars().take(120).collect()
}

fn entries(folder: &Path) -> Vec<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| format!("file {}", entry.path().display()))
        .collect()
}

/// Mounts that are not the disks.
fn mounts(place: &ChaosLine) -> Result<Vec<String>> {
    let folder = place.folder.display().to_string();
    let disks: BTreeSet<String> = place
        .disks
        .iter()
        .chain([&place.line_disk])
        .map(|disk| disk.path().display().to_string())
        .collect();
    let points = |text: String| {
        text.lines()
            .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let here = points(fs::read_to_string("/proc/self/mountinfo")?)
        .into_iter()
        .filter(|point| !disks.contains(point));
    let outside = points(fs::read_to_string("/proc/1/mountinfo")?);
    Ok(here
        .chain(outside)
        .filter(|point| point.starts_with(&folder))
        .map(|point| format!("mount {point}"))
        .collect())
}

/// Control groups that runners of this place have made, also those that were killed.
fn groups(place: &ChaosLine) -> Vec<String> {
    let makers: BTreeSet<String> = place
        .runners
        .iter()
        .flat_map(|runner| &runner.processes)
        .map(|id| format!("millrace-{id}-"))
        .collect();
    let found = run(Command::new("find").args([
        "/sys/fs/cgroup",
        "-type",
        "d",
        "-name",
        "millrace-[0-9]*",
    ]));
    let is_ours = |path: &&str| {
        makers.iter().any(|maker| {
            path.rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with(maker.as_str()))
        })
    };
    found
        .lines()
        .filter(is_ours)
        .map(|path| format!("control group {path}"))
        .collect()
}
