//! Observes what this machine gives, by trying it.

use super::finding::Candidate;
use crate::machine::{subordinate, trust};
use crate::sandbox::{Bounds, Inspection, Sandbox, calls_are_filtered};
use millrace_core::platform::Limits;
use nix::sys::statfs::statfs;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use ureq::Agent;

/// How long the line may take to say what time it is.
const ANSWER: Duration = Duration::from_secs(10);

/// Whose rights a runner here has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Root of the machine.
    Root,
    /// An ordinary user, root of a namespace of its own.
    Namespace,
    /// An ordinary user who could not become that, and why.
    Ordinary(String),
}

/// The runner's folder, and the disk that it lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunnerDisk {
    pub(super) folder: PathBuf,
    /// The kernel's number for the kind of file system (statfs(2)).
    pub(super) kind: i64,
    /// What an ordinary user could still write, in bytes.
    pub(super) free_bytes: u64,
    /// How many more files there may be; none if there is no such bound.
    pub(super) free_files: Option<u64>,
}

/// What was observed.
#[derive(Debug, Clone)]
pub(super) struct Observations {
    pub(super) standing: Standing,
    /// Its release: `6.12.0-55.el10`.
    pub(super) kernel: String,
    /// What a command sees in a sandbox, or why none could be built.
    pub(super) looked: Result<Inspection, String>,
    /// What building it and looking took, in milliseconds.
    pub(super) took_ms: u64,
    /// What control groups bound here, or why they do not work.
    pub(super) bounds: Result<Bounds, String>,
    /// Whether there is a list of system calls for this architecture.
    pub(super) filters: bool,
    /// Whether there is a package manager that makes roots.
    pub(super) dnf: bool,
    pub(super) disk: Result<RunnerDisk, String>,
    /// How far this machine's clock is ahead of the line's, in seconds, if it was asked.
    pub(super) ahead_s: Option<Result<i64, String>>,
}

/// Observes the machine, and the runner that it may have.
pub(super) fn observe(candidate: &Candidate<'_>) -> Observations {
    let began = Instant::now();
    let looked = look(candidate);
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Observations {
        standing: standing(candidate),
        kernel: kernel.trim().to_owned(),
        looked,
        took_ms,
        bounds: Sandbox::bounds(&Limits::default()).map_err(|error| error.to_string()),
        filters: calls_are_filtered(),
        dnf: has_program("dnf"),
        disk: disk(candidate.folder),
        ahead_s: candidate.line_url.map(ahead_s),
    }
}

fn standing(candidate: &Candidate<'_>) -> Standing {
    match candidate.no_namespace {
        Some(problem) => Standing::Ordinary(problem.to_owned()),
        None if subordinate::is_needed() => {
            Standing::Ordinary("it has no user namespace".to_owned())
        }
        None if subordinate::in_namespace() => Standing::Namespace,
        None => Standing::Root,
    }
}

/// Builds a sandbox below the runner's folder, since that is where roots are seen over each other.
fn look(candidate: &Candidate<'_>) -> Result<Inspection, String> {
    let folder = fs::create_dir_all(candidate.folder).and_then(|()| {
        tempfile::Builder::new()
            .prefix(".doctor-")
            .tempdir_in(candidate.folder)
    });
    let folder = folder.map_err(|error| format!("{}: {error}", candidate.folder.display()))?;
    Sandbox::new(candidate.launcher.to_owned())
        .look(folder.path())
        .map_err(|error| error.to_string())
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn disk(folder: &Path) -> Result<RunnerDisk, String> {
    let found = statfs(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let block_bytes = u64::try_from(found.block_size()).unwrap_or(0);
    Ok(RunnerDisk {
        folder: folder.to_owned(),
        kind: found.filesystem_type().0,
        free_bytes: found.blocks_available().saturating_mul(block_bytes),
        free_files: (found.files() > 0).then(|| found.files_free()),
    })
}

/// How far our clock is ahead of a line's, by the date that every answer over HTTP has, to the second.
fn ahead_s(url: &str) -> Result<i64, String> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER));
    let agent = config
        .tls_config(trust::of_this_machine())
        .build()
        .new_agent();
    let response = agent
        .get(url)
        .call()
        .map_err(|error| format!("{url} does not answer: {error}"))?;
    let date = response
        .headers()
        .get("date")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let theirs = httpdate::parse_http_date(date)
        .map_err(|_| format!("{url} does not say what time it is"))?;
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().cast_signed())
    };
    Ok(seconds(SystemTime::now()) - seconds(theirs))
}
