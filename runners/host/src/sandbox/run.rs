//! Runs commands, each in a sandbox of its own, to their ends.

use super::cgroup::{self, Bounds, Cgroup};
use super::command::{Command, CommandEnd, PLAN_BYTES_MAX, SandboxError};
use super::disk::DiskWatch;
use super::input::{CommandInput, InputEnd, feed_with};
use super::inspect::Inspection;
use super::output::{CapturedOutput, OutputPiece, PIECE_BYTES, listen};
use super::plan::LaunchPlan;
use super::starter::{Launcher, Starter};
use super::terminal::Terminal;
use super::view::{Overlay, View};
use super::watch::{CommandWatch, attend};
use millrace_core::hold::Size;
use millrace_core::platform::{Limits, SandboxOptions};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::wait::WaitStatus;
use std::fs;
use std::io::{self, PipeReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Longest that looking around in a sandbox may take; it takes some 30 ms.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// Starts commands.
#[derive(Debug, Clone)]
pub struct Sandbox {
    starter: Arc<Starter>,
}

impl Sandbox {
    /// A sandbox whose commands are started by this program, which calls [`main_if_asked`](super::main_if_asked).
    pub fn new(launcher: PathBuf) -> Self {
        Self {
            starter: Arc::new(Starter::new(launcher)),
        }
    }

    /// Removes what sandboxes of processes that are gone have left in the kernel.
    pub fn sweep() {
        cgroup::sweep();
    }

    /// What control groups bound on this machine: tried with some bounds.
    pub(crate) fn bounds(limits: &Limits) -> io::Result<Bounds> {
        Cgroup::new(&format!("{}-doctor", std::process::id()), limits).map(|group| group.bounds())
    }

    /// Which bounds do not hold for commands on this machine, in words; none if all do.
    pub fn unbounded() -> Option<String> {
        match Cgroup::new(&format!("{}-probe", std::process::id()), &Limits::default()) {
            Ok(group) => group.missing(),
            Err(problem) => Some(format!("control groups do not work here: {problem}")),
        }
    }

    /// Looks around in a sandbox such as tasks have, as its root, on a root with nothing in it. The folder must be empty.
    pub(crate) fn look(&self, folder: &Path) -> Result<Inspection, SandboxError> {
        let places = ["empty", "task", "task/work"].map(|name| folder.join(name));
        places.iter().try_for_each(fs::create_dir)?;
        let [empty, task, work] = places;
        let view = View::Root(Overlay {
            lowers: vec![empty],
            upper: task.join("upper"),
            scratch: task.join("scratch"),
        });
        let command = Command {
            view,
            argv: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            stdin: Vec::new(),
            timeout: LOOK_AROUND,
            as_root: true,
            options: SandboxOptions::default(),
            work: &work,
            capture_bytes_max: PIECE_BYTES,
        };
        let mut said = String::new();
        let ended = self.start(
            &command,
            CommandInput::Bytes,
            &AtomicBool::new(false),
            &mut |bytes| said.push_str(&String::from_utf8_lossy(bytes)),
        )?;
        let CommandEnd::Exited {
            status: 0, stdout, ..
        } = ended
        else {
            return Err(SandboxError::Setup(format!(
                "looking around in it ended with {ended:?}: {}",
                said.trim()
            )));
        };
        Ok(serde_json::from_slice(&stdout).map_err(io::Error::other)?)
    }

    /// Runs a command to its end. What it prints goes to `output` as it comes, both of its streams.
    pub fn run(
        &self,
        command: &Command<'_>,
        cancelled: &AtomicBool,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<CommandEnd, SandboxError> {
        if command.argv.is_empty() {
            return Err(SandboxError::Setup("an empty command".to_owned()));
        }
        self.start(command, CommandInput::Bytes, cancelled, output)
    }

    /// Runs a command at a terminal of the sandbox's own, to its end. Its other end is handed out as soon as it is there; what is
    /// printed before the command begins goes to `output`.
    pub fn run_at_terminal(
        &self,
        command: &Command<'_>,
        size: Size,
        cancelled: &AtomicBool,
        opened: &mut dyn FnMut(Terminal),
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<CommandEnd, SandboxError> {
        self.start(
            command,
            CommandInput::Terminal(size, opened),
            cancelled,
            output,
        )
    }

    fn start(
        &self,
        command: &Command<'_>,
        input: CommandInput<'_>,
        cancelled: &AtomicBool,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<CommandEnd, SandboxError> {
        let name = next_name();
        // They go in the reverse order: the launcher, its control groups, and the folder below its root.
        let scratch = Scratch::new(command.work, &name)?;
        let cgroup = Cgroup::new(&name, &command.options.limits)?;
        let plan = plan_text(command, input.size(), &scratch.path, &cgroup)?;
        let mut started = self.launch(&plan, command, input, output)?;
        let began = Instant::now();
        let mut watch = CommandWatch {
            command,
            cgroup: &cgroup,
            cancelled,
            until: began + command.timeout,
            disk: DiskWatch::new(command.options.limits.disk_bytes),
        };
        let mut heard = CapturedOutput {
            capture_max: command.capture_bytes_max,
            ..CapturedOutput::default()
        };
        let stopped = attend(&started.pieces, &mut watch, &mut heard, output);
        if stopped.is_some() {
            started.launcher.kill()?;
        }
        let status = started.launcher.wait()?;
        cgroup.end();
        if cgroup.processes_refused() > 0 {
            // Not the end of a command by itself, but mostly why it ended.
            let processes = command.options.limits.processes;
            let line = format!("it was refused a process: it had {processes}, as many as it may\n");
            output(line.as_bytes());
        }
        let problem = last_words(&mut started.word)?;
        if !problem.is_empty() {
            return Err(SandboxError::Setup(problem));
        }
        let success = matches!(status, WaitStatus::Exited(_, 0));
        if let Some(stopped) = stopped.or_else(|| watch.after(success)) {
            return Ok(stopped);
        }
        Ok(CommandEnd::Exited {
            status: status_of(status)?,
            stdout: heard.stdout,
            cut: heard.cut,
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Starts the launcher of a command, and connects both to this process.
    fn launch(
        &self,
        plan: &str,
        command: &Command<'_>,
        input: CommandInput<'_>,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<StartedCommand, SandboxError> {
        let (stdin, feed) = input.stdin()?;
        let (out, stdout) = io::pipe()?;
        let (err, stderr) = io::pipe()?;
        let (launcher, word) = self
            .starter
            .start(plan, [stdin, stdout.into(), stderr.into()])?;
        let pieces = listen(out, err);
        match (input, feed) {
            (CommandInput::Terminal(_, opened), InputEnd::Terminal(way)) => {
                match Terminal::receive(&way) {
                    Ok(terminal) => terminal.into_iter().for_each(opened),
                    // The end of the launcher is that of the command, whose words are then the last.
                    Err(error) => {
                        launcher.kill()?;
                        output(format!("no terminal came: {error}\n").as_bytes());
                    }
                }
            }
            (_, InputEnd::Bytes(pipe)) => feed_with(pipe, command.stdin.clone()),
            (CommandInput::Bytes, InputEnd::Terminal(_)) => {}
        }
        Ok(StartedCommand {
            launcher,
            word,
            pieces,
        })
    }
}

/// A command that runs, and all that comes from it.
struct StartedCommand {
    launcher: Launcher,
    /// Where the launcher says what did not work out.
    word: PipeReader,
    pieces: Receiver<OutputPiece>,
}

/// A name that no other sandbox on this machine has.
fn next_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}", std::process::id())
}

/// What the launcher is told, if there is room for it.
fn plan_text(
    command: &Command<'_>,
    terminal: Option<Size>,
    scratch: &Path,
    cgroup: &Cgroup,
) -> Result<String, SandboxError> {
    let plan = LaunchPlan::of(command, terminal, scratch, cgroup);
    let text = serde_json::to_string(&plan).map_err(io::Error::other)?;
    if text.len() > PLAN_BYTES_MAX {
        return Err(SandboxError::TooLong(text.len()));
    }
    Ok(text)
}

/// The status of a command, from that of its launcher.
fn status_of(launcher: WaitStatus) -> Result<u8, SandboxError> {
    match launcher {
        WaitStatus::Exited(_, status) => Ok(u8::try_from(status).unwrap_or(255)),
        WaitStatus::Signaled(_, signal, _) => Err(SandboxError::Ended(signal as i32)),
        other => Err(io::Error::other(format!("{other:?} is no end")).into()),
    }
}

/// What a launcher says did not work out. Without control groups, the first process may still be about to die with the
/// launcher that was killed: then it has nothing to say any more.
fn last_words(word: &mut PipeReader) -> io::Result<String> {
    fcntl(&*word, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let mut bytes = Vec::new();
    match word.read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// An empty folder beside the task's own, for a sandbox to put its root over; gone at the end.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(work: &Path, name: &str) -> io::Result<Self> {
        let path = work
            .parent()
            .unwrap_or(work)
            .join(format!(".sandbox-{name}"));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
