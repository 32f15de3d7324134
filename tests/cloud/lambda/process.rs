//! One process of a function: it does one invocation at a time, and stands still between them.

use crate::lambda::children::{Children, signal};
use crate::lambda::clock::seconds;
use crate::lambda::runtime::{Job, Runtime, RuntimeMessage};
use axum::body::Bytes;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until};

/// How long a process may take until it asks for work. AWS gives it ten seconds, and a loaded machine is slower.
const START_MAX: Duration = Duration::from_secs(60);

/// What every process of a function is started with.
#[derive(Debug, Clone)]
pub struct Program {
    /// Name of the function.
    pub function: String,
    pub path: PathBuf,
    /// All of its variables, but those that are its own.
    pub environment: Vec<(String, String)>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A process that has started. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    function: String,
    child: Child,
    pid: Pid,
    birth: u64,
    children: Children,
    runtime: Runtime,
    _folder: TempDir,
}

impl Process {
    /// Starts one, and waits until it asks for work.
    pub async fn start(
        program: &Program,
        children: &Children,
        place: &Path,
    ) -> Result<Self, Value> {
        let mut process = Self::spawn(program, children, place)
            .await
            .map_err(|error| no_entry(program, &error))?;
        let deadline = Instant::now() + START_MAX;
        tokio::select! {
            biased;
            said = process.runtime.said.recv() => match said {
                Some(RuntimeMessage::Next) => Ok(process),
                Some(RuntimeMessage::NoStart(words)) => Err(words),
                Some(RuntimeMessage::Answer(_) | RuntimeMessage::Error(_)) | None => Err(lambda_error("Runtime.Unknown", "spoke before it was asked")),
            },
            status = process.child.wait() => Err(exited("", status)),
            () = sleep_until(deadline) => Err(timed_out("", START_MAX)),
        }
    }

    async fn spawn(program: &Program, children: &Children, place: &Path) -> io::Result<Self> {
        let (folder, runtime) = (TempDir::new_in(place)?, Runtime::open().await?);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&program.log)?;
        let mut command = Command::new(&program.path);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(
                program
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("AWS_LAMBDA_RUNTIME_API", runtime.address.to_string())
            .env("TMPDIR", folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        // SAFETY: between fork and exec, this calls nothing but prctl(2), which is safe in a signal handler.
        unsafe {
            command.pre_exec(|| {
                // Nobody continues a stopped process once its test was killed.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap_or_default()).unwrap_or_default());
        let birth = children.born(&program.function, pid);
        Ok(Self {
            function: program.function.clone(),
            child,
            pid,
            birth,
            children: children.clone(),
            runtime,
            _folder: folder,
        })
    }

    /// Whether it can do another invocation.
    pub fn is_alive(&mut self) -> bool {
        !self.children.ended_since(&self.function, self.birth)
            && matches!(self.child.try_wait(), Ok(None))
    }

    /// Does an invocation: its answer, or why there is none. Without an answer in time it is ended.
    pub async fn run(&mut self, job: Job, timeout: Duration) -> Result<Bytes, Value> {
        let (id, deadline) = (job.id.clone(), Instant::now() + timeout);
        signal(self.pid, Signal::SIGCONT);
        let _ = self.runtime.jobs.send(job);
        loop {
            let said = tokio::select! {
                biased;
                said = self.runtime.said.recv() => said,
                status = self.child.wait() => return Err(exited(&id, status)),
                () = sleep_until(deadline) => {
                    self.children.bury(&self.function, self.pid);
                    return Err(timed_out(&id, timeout));
                }
            };
            match said {
                Some(RuntimeMessage::Answer(answer)) => return Ok(answer),
                Some(RuntimeMessage::Error(error) | RuntimeMessage::NoStart(error)) => {
                    return Err(error);
                }
                Some(RuntimeMessage::Next) => {}
                None => return Err(lambda_error("Runtime.Unknown", "nobody hears it any more")),
            }
        }
    }

    /// After an invocation: waits until it asks for the next one, and lets it stand still. False if it is not good for another.
    pub async fn freeze(&mut self, deadline: Instant) -> bool {
        loop {
            tokio::select! {
                biased;
                said = self.runtime.said.recv() => match said {
                    Some(RuntimeMessage::Next) => break,
                    Some(RuntimeMessage::Answer(_) | RuntimeMessage::Error(_) | RuntimeMessage::NoStart(_)) => {}
                    None => return false,
                },
                _ = self.child.wait() => return false,
                () = sleep_until(deadline) => return false,
            }
        }
        signal(self.pid, Signal::SIGSTOP);
        self.is_alive()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.children.bury(&self.function, self.pid);
    }
}

/// An error in Lambda's words.
fn lambda_error(kind: &str, message: &str) -> Value {
    json!({ "errorType": kind, "errorMessage": message })
}

fn timed_out(id: &str, timeout: Duration) -> Value {
    lambda_error(
        "Sandbox.Timedout",
        &format!(
            "RequestId: {id} Error: Task timed out after {}",
            seconds(timeout)
        ),
    )
}

fn exited(id: &str, status: io::Result<ExitStatus>) -> Value {
    let how = match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(0), _)) => "Runtime exited without providing a reason".to_owned(),
        Ok((Some(code), _)) => format!("Runtime exited with error: exit status {code}"),
        Ok((None, Some(9))) => "Runtime exited with error: signal: killed".to_owned(),
        Ok((None, signal)) => format!(
            "Runtime exited with error: signal: {}",
            signal.unwrap_or_default()
        ),
        Err(error) => format!("Runtime exited with error: {error}"),
    };
    lambda_error(
        "Runtime.ExitError",
        &format!("RequestId: {id} Error: {how}"),
    )
}

fn no_entry(program: &Program, error: &io::Error) -> Value {
    lambda_error(
        "Runtime.InvalidEntrypoint",
        &format!("{}: {error}", program.path.display()),
    )
}
