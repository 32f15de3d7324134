//! A running line: `millrace up` as a child, and the `millrace` commands that speak to it.

use crate::command::{self, logged, shown};
use crate::folders::Folders;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The port that a person finds again, if it is free.
const PORT: u16 = 8470;

/// A line on this machine starts in a second; on a loaded one in ten.
const START_MAX: Duration = Duration::from_secs(60);

/// And stops what it runs in less than this; then it is ended.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A line that runs as long as this lives.
#[derive(Debug)]
pub struct Line {
    millrace: PathBuf,
    state: PathBuf,
    /// `127.0.0.1:8470`.
    pub address: String,
    pub log: PathBuf,
    up: Child,
    watchdog: Child,
}

impl Line {
    /// Starts it over a state folder.
    pub fn start(folders: &Folders, state: &Path, log: PathBuf) -> Result<Self> {
        let millrace = folders.millrace();
        let address = format!("127.0.0.1:{}", free_port()?);
        let file = std::fs::File::create(&log)?;
        let mut up = Command::new(&millrace);
        up.arg("--state")
            .arg(state)
            .args(["up", "--listen", &address, "--plugins"])
            .arg(folders.plugins());
        // A process group of its own: Ctrl-C reaches xtask alone, and the watchdog lets the line stop in good order.
        let up = up
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn();
        let up = up.with_context(|| format!("start {}", millrace.display()))?;
        let watchdog = command::watchdog(&up)?;
        let mut line = Self {
            millrace,
            state: state.to_owned(),
            address,
            log,
            up,
            watchdog,
        };
        command::wait_until_it_listens(
            &mut line.up,
            "`millrace up`",
            &line.address,
            &line.log,
            START_MAX,
        )?;
        Ok(line)
    }

    /// A `millrace` command over the same state.
    pub fn command(&self, words: &[&str]) -> Command {
        command_over(&self.millrace, &self.state, words)
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Runs a `millrace` command silently.
    pub fn say(&self, words: &[&str]) -> Result<()> {
        logged(
            &mut self.command(words),
            &self.state.with_file_name("millrace.log"),
        )
    }

    /// Follows the builds of a commit, with all that `millrace watch` prints.
    pub fn watch(&self, commit: &str) -> Result<()> {
        shown(&mut self.command(&["watch", "--commit", commit]))
    }

    /// Leaves it running; gives its process's number.
    pub fn keep(mut self) -> Result<u32> {
        let mut stdin = self
            .watchdog
            .stdin
            .take()
            .context("the watchdog reads from us")?;
        stdin.write_all(b"keep\n")?;
        drop(stdin);
        self.watchdog.wait()?;
        Ok(self.up.id())
    }

    /// Stops it in good order.
    pub fn stop(mut self) -> Result<()> {
        drop(self.watchdog.stdin.take());
        self.watchdog.wait()?;
        let end = Instant::now() + STOP_MAX;
        while self.up.try_wait()?.is_none() {
            if Instant::now() > end {
                self.up.kill()?;
                self.up.wait()?;
                bail!("`millrace up` did not stop within {STOP_MAX:?} and was ended");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// Stops the line that an earlier run left running over this state folder, for it is about to be emptied.
pub fn stop_earlier(state: &Path) -> Result<()> {
    let wanted = state.display().to_string();
    let is_ours = |process: &Path| {
        let words = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = words
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        words
            .windows(3)
            .any(|three| three[0] == "--state" && three[1] == wanted && three[2] == "up")
    };
    for entry in std::fs::read_dir("/proc")?
        .flatten()
        .filter(|entry| is_ours(&entry.path()))
    {
        let number = entry.file_name().to_string_lossy().into_owned();
        println!("  stopping the line that an earlier demo left running (process {number})");
        shown(Command::new("kill").arg(&number))?;
        let end = Instant::now() + STOP_MAX;
        while is_ours(&entry.path()) {
            anyhow::ensure!(
                Instant::now() < end,
                "process {number} does not stop: end it, and run this again"
            );
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// A `millrace` command over a state folder.
pub fn command_over(millrace: &Path, state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(millrace);
    command
        .arg("--state")
        .arg(state)
        .args(words)
        .stdin(Stdio::null());
    command
}

/// The port that people know, or else one that is free now.
fn free_port() -> Result<u16> {
    let taken =
        TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)));
    Ok(taken.context("no port is free")?.local_addr()?.port())
}
