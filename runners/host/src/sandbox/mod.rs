//! Runs a foreign command where it can harm nobody: in namespaces of its own, without a network, within bounds.
//!
//! The process that runs tasks has many threads, and namespaces want a process with one. So commands are started by this very
//! program once more, which [`main_if_asked`] turns into the starter, and the starter's forks into launchers. What stops a command is
//! the death of its first process: the kernel ends every process of a PID namespace with it (pid_namespaces(7)).

mod calls;
mod cgroup;
pub(crate) mod disk;
mod handles;
mod launcher;
mod look;
pub(crate) mod mounts;
mod order;
mod plan;
mod starter;
mod terminal;

pub(crate) use calls::are_filtered as calls_are_filtered;
pub(crate) use cgroup::Bounds;
pub(crate) use disk::used;
pub(crate) use look::Looked;
pub use plan::{Overlay, Shown, View};
pub use terminal::Terminal;

use cgroup::Cgroup;
use millrace_core::hold::Size;
use millrace_core::platform::{Limits, SandboxOptions};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::wait::WaitStatus;
use plan::Plan;
use starter::Starter;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How soon a cancelled, oversized or overdue command is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// Longest that looking around in a sandbox may take; it takes some 30 ms.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// Bytes read from a command at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Longest plan, in bytes: its longest part is a command's argument, which may have 128 KiB (execve(2), MAX_ARG_STRLEN).
const PLAN_BYTES_MAX: usize = 120 * 1024;

/// Share of the disk bound, in percent, from which on a failed command is taken to have failed for want of space.
const FULL_PERCENT: u64 = 95;

/// Becomes the starter of launchers where that is what this process was started for. To be called first thing in `main`, before there
/// are threads.
pub fn main_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(starter::START) {
        std::process::exit(starter::main(&arguments.next().unwrap_or_default()));
    }
}

/// Starts commands.
#[derive(Debug, Clone)]
pub struct Sandbox {
    starter: Arc<Starter>,
}

/// A command, and what it may see, touch and use up.
#[derive(Debug)]
pub struct Command<'a> {
    /// What it takes for the machine.
    pub view: View,
    /// Program and arguments; no shell in between.
    pub argv: Vec<String>,
    /// Added to a small clean environment.
    pub env: Vec<(String, String)>,
    /// Where it starts, as it sees it.
    pub cwd: String,
    /// Its standard input.
    pub stdin: Vec<u8>,
    /// How long it may take.
    pub timeout: Duration,
    /// As root of the sandbox, or as its ordinary user.
    pub as_root: bool,
    /// What it may use up and touch. The network is for our own use of the package manager, and for steps that a platform opens it for.
    pub options: SandboxOptions,
    /// The task's folder, `/work` in the sandbox; what lies beside it in its parent folder belongs to the task too.
    pub work: &'a Path,
    /// How much of standard output to hand back, in bytes.
    pub capture_bytes_max: usize,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exited {
        /// 127 where there is no such program, 128 and the signal's number where a signal ended it.
        status: u8,
        /// The beginning of standard output.
        stdout: Vec<u8>,
        /// Whether there was more.
        cut: bool,
        /// In milliseconds.
        elapsed_ms: u64,
    },
    /// Stopped: it took too long.
    TimedOut,
    /// Stopped: all its processes together used too much memory.
    OutOfMemory,
    /// Stopped: it filled the task's folder.
    OutOfSpace,
    /// Stopped: it printed too much.
    OutputLimit,
    /// Stopped on request.
    Cancelled,
}

/// The sandbox itself does not work: the machine's trouble, not the command's.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel, or this user, does not allow what it takes.
    #[error(
        "the sandbox cannot be set up: {0} (`millrace runner doctor` says what this machine lacks)"
    )]
    Setup(String),
    /// A command line that no program can be given.
    #[error("the command line has {0} bytes, at most {PLAN_BYTES_MAX} fit")]
    TooLong(usize),
    /// Somebody ended what had started the command, which has no verdict then.
    #[error("the sandbox was ended from outside, by signal {0}")]
    Ended(i32),
    /// Pipes, files, processes.
    #[error("the sandbox: {0}")]
    Io(#[from] io::Error),
}

/// What a command is given to read.
enum Input<'a> {
    /// Its standard input.
    Bytes,
    /// A terminal of this size, and who gets its other end.
    Terminal(Size, &'a mut dyn FnMut(Terminal)),
}

impl Input<'_> {
    const fn size(&self) -> Option<Size> {
        match self {
            Self::Bytes => None,
            Self::Terminal(size, _) => Some(*size),
        }
    }

    /// What the launcher has as standard input, and the other end of it.
    fn stdin(&self) -> io::Result<(OwnedFd, Feed)> {
        match self {
            Self::Bytes => io::pipe().map(|(theirs, own)| (theirs.into(), Feed::Bytes(own))),
            Self::Terminal(..) => {
                UnixStream::pair().map(|(own, theirs)| (theirs.into(), Feed::Terminal(own)))
            }
        }
    }
}

/// The other end of a launcher's standard input.
enum Feed {
    /// Where to write what the command is to read.
    Bytes(PipeWriter),
    /// Where the other end of a terminal will come from.
    Terminal(UnixStream),
}

/// What comes out of a command.
enum Piece {
    Out(Vec<u8>),
    Err(Vec<u8>),
}

impl Sandbox {
    /// A sandbox whose commands are started by this program, which calls [`main_if_asked`].
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

    /// Which bounds do not hold for commands on this machine, in words; none where all do.
    pub fn unbounded() -> Option<String> {
        match Cgroup::new(&format!("{}-probe", std::process::id()), &Limits::default()) {
            Ok(group) => group.missing(),
            Err(problem) => Some(format!("control groups do not work here: {problem}")),
        }
    }

    /// Looks around in a sandbox such as tasks have, as its root, on a root with nothing in it. The folder must be empty.
    pub(crate) fn look(&self, folder: &Path) -> Result<Looked, SandboxError> {
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
            Input::Bytes,
            &AtomicBool::new(false),
            &mut |bytes| said.push_str(&String::from_utf8_lossy(bytes)),
        )?;
        let Ended::Exited {
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
    ) -> Result<Ended, SandboxError> {
        if command.argv.is_empty() {
            return Err(SandboxError::Setup("an empty command".to_owned()));
        }
        self.start(command, Input::Bytes, cancelled, output)
    }

    /// Runs a command at a terminal of the sandbox's own, to its end. Its other end is handed out as soon as it is there; what comes
    /// otherwise, before the command is there, goes to `output`.
    pub fn run_at_terminal(
        &self,
        command: &Command<'_>,
        size: Size,
        cancelled: &AtomicBool,
        opened: &mut dyn FnMut(Terminal),
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ended, SandboxError> {
        self.start(command, Input::Terminal(size, opened), cancelled, output)
    }

    fn start(
        &self,
        command: &Command<'_>,
        input: Input<'_>,
        cancelled: &AtomicBool,
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<Ended, SandboxError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let scratch = Scratch::new(command.work, &name)?;
        let cgroup = Cgroup::new(&name, &command.options.limits)?;
        let plan = Plan::of(command, input.size(), &scratch.path, &cgroup);
        let text = serde_json::to_string(&plan).map_err(io::Error::other)?;
        if text.len() > PLAN_BYTES_MAX {
            return Err(SandboxError::TooLong(text.len()));
        }
        let ((stdin, feed), (out, stdout), (err, stderr)) =
            (input.stdin()?, io::pipe()?, io::pipe()?);
        let (mut launcher, mut word) = self
            .starter
            .start(&text, [stdin, stdout.into(), stderr.into()])?;
        let pieces = listen(out, err);
        let terminal = match feed {
            Feed::Bytes(pipe) => {
                feed_with(pipe, command.stdin.clone());
                None
            }
            Feed::Terminal(way) => Some(way),
        };
        if let (Input::Terminal(_, opened), Some(way)) = (input, terminal) {
            match Terminal::receive(&way) {
                Ok(terminal) => terminal.into_iter().for_each(opened),
                // The end of the launcher is that of the command, whose words are then the last.
                Err(error) => {
                    launcher.kill()?;
                    output(format!("no terminal came: {error}\n").as_bytes());
                }
            }
        }
        let began = Instant::now();
        let mut watch = Watch {
            command,
            cgroup: &cgroup,
            cancelled,
            until: began + command.timeout,
            disk: disk::Watch::new(command.options.limits.disk_bytes),
        };
        let mut heard = Heard {
            capture_max: command.capture_bytes_max,
            ..Heard::default()
        };
        let stopped = attend(&pieces, &mut watch, &mut heard, output);
        if stopped.is_some() {
            launcher.kill()?;
        }
        let status = launcher.wait()?;
        cgroup.end();
        if cgroup.processes_refused() > 0 {
            // Not the end of a command by itself, but mostly why it came to one.
            output(
                format!(
                    "it was refused a process: it had {}, as many as it may\n",
                    command.options.limits.processes
                )
                .as_bytes(),
            );
        }
        let problem = said(&mut word)?;
        if !problem.is_empty() {
            return Err(SandboxError::Setup(problem));
        }
        let success = matches!(status, WaitStatus::Exited(_, 0));
        if let Some(stopped) = stopped.or_else(|| watch.after(success)) {
            return Ok(stopped);
        }
        let status = match status {
            WaitStatus::Exited(_, status) => status,
            WaitStatus::Signaled(_, signal, _) => return Err(SandboxError::Ended(signal as i32)),
            other => return Err(io::Error::other(format!("{other:?} is no end")).into()),
        };
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let status = u8::try_from(status).unwrap_or(255);
        Ok(Ended::Exited {
            status,
            stdout: heard.stdout,
            cut: heard.cut,
            elapsed_ms,
        })
    }
}

/// What a launcher says did not work out. Where there are no control groups, the first process may still be about to die with the
/// launcher that was killed: then it has nothing to say any more.
fn said(word: &mut PipeReader) -> io::Result<String> {
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

/// What was heard of a command so far.
#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    cut: bool,
    capture_max: usize,
    bytes: u64,
}

impl Heard {
    fn take(&mut self, piece: &Piece, output: &mut dyn FnMut(&[u8])) {
        let (Piece::Out(bytes) | Piece::Err(bytes)) = piece;
        self.bytes += bytes.len() as u64;
        output(bytes);
        if let Piece::Out(bytes) = piece {
            let room = self.capture_max - self.stdout.len();
            self.stdout
                .extend_from_slice(&bytes[..room.min(bytes.len())]);
            self.cut |= bytes.len() > room;
        }
    }
}

/// Collects what a command says, in threads of their own.
fn listen(out: PipeReader, err: PipeReader) -> Receiver<Piece> {
    let (give, take) = channel();
    collect(out, give.clone(), Piece::Out);
    collect(err, give, Piece::Err);
    take
}

/// Writes what a command is to read; in a thread of its own, if there is anything.
fn feed_with(mut pipe: PipeWriter, bytes: Vec<u8>) {
    if !bytes.is_empty() {
        // A command that does not read to the end is no error.
        std::thread::spawn(move || pipe.write_all(&bytes));
    }
}

fn collect(
    mut pipe: impl Read + Send + 'static,
    give: Sender<Piece>,
    piece: impl Fn(Vec<u8>) -> Piece + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut bytes = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = pipe.read(&mut bytes) {
            if give.send(piece(bytes[..read].to_vec())).is_err() {
                return;
            }
        }
    });
}

/// Listens until both streams are closed, which they are when the last process is gone, or until the command must be stopped.
fn attend(
    pieces: &Receiver<Piece>,
    watch: &mut Watch<'_>,
    heard: &mut Heard,
    output: &mut dyn FnMut(&[u8]),
) -> Option<Ended> {
    let mut look = Instant::now();
    loop {
        match pieces.recv_timeout(LOOK) {
            Ok(piece) => heard.take(&piece, output),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if heard.bytes > watch.command.options.limits.log_bytes {
            return Some(Ended::OutputLimit);
        }
        if look.elapsed() >= LOOK {
            look = Instant::now();
            if let Some(stop) = watch.look() {
                return Some(stop);
            }
        }
    }
}

/// Looks after the bounds that the kernel does not enforce by itself.
struct Watch<'a> {
    command: &'a Command<'a>,
    cgroup: &'a Cgroup,
    cancelled: &'a AtomicBool,
    until: Instant,
    disk: disk::Watch,
}

impl Watch<'_> {
    fn look(&mut self) -> Option<Ended> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Some(Ended::Cancelled);
        }
        if Instant::now() >= self.until {
            return Some(Ended::TimedOut);
        }
        if self.cgroup.out_of_memory() {
            return Some(Ended::OutOfMemory);
        }
        self.disk
            .is_over(&self.folders())
            .then_some(Ended::OutOfSpace)
    }

    /// What the end of the command was really due to.
    fn after(&self, success: bool) -> Option<Ended> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Some(Ended::Cancelled);
        }
        if self.cgroup.out_of_memory() {
            return Some(Ended::OutOfMemory);
        }
        let used = || {
            self.folders()
                .iter()
                .map(|folder| disk::used(folder))
                .sum::<u64>()
        };
        let full = || used() >= self.command.options.limits.disk_bytes / 100 * FULL_PERCENT;
        (!success && full()).then_some(Ended::OutOfSpace)
    }

    /// Where the command's files land: the task's folder, and what it changes of a root where that lies elsewhere.
    fn folders(&self) -> Vec<PathBuf> {
        let own = self.command.work.parent().unwrap_or(self.command.work);
        let elsewhere: Vec<PathBuf> = match &self.command.view {
            View::Root(overlay) => vec![overlay.upper.clone()],
            View::Host { root, writable, .. } => root
                .iter()
                .map(|(overlay, _)| overlay.upper.clone())
                .chain(writable.iter().cloned())
                .collect(),
            View::Machine => Vec::new(),
        };
        let apart = elsewhere
            .into_iter()
            .filter(|folder| !folder.starts_with(own));
        std::iter::once(own.to_owned()).chain(apart).collect()
    }
}
