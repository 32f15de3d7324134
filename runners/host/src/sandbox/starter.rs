//! The starter: a process with one thread that becomes a launcher by fork alone.
//!
//! The process that runs tasks has many threads, and namespaces want one with a single thread. To start this program again for each command
//! takes milliseconds, nearly all of them the linker's: it is large. So it is started once, waits for plans, and forks; each launcher is a
//! child of the runner, as if the runner had forked itself (clone(2), CLONE_PARENT).
//!
//! A starter ends with its runner, and when the sandbox is dropped that it is for. One that was killed or hangs is replaced when it is
//! wanted next.

use super::handles;
use super::launcher;
use super::process::{Fork, NOT_SET_UP, die_with_parent, fork_as, stand_alone};
use super::setup_error::{Doing, SetupResult};
use nix::errno::Errno;
use nix::sys::prctl::set_name;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, getpid, getppid};
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The first argument that makes this program a starter; the second is the process that it is for.
const START: &str = "__sandbox";

/// Where a starter has the way to its runner.
const WAY: RawFd = 0;

/// Where a launcher has what it says to its runner, behind the three streams.
const WORD: RawFd = 3;

/// What a launcher is given: the three streams, and the way for its word.
const GIVEN: usize = 4;

/// How long a launcher may take until it says who it is. A fork takes less than a millisecond, on a machine that is short of memory
/// perhaps a second; a starter that takes longer hangs or was stopped, and is given up.
const BEGIN: Duration = Duration::from_secs(10);

/// Starts launchers.
#[derive(Debug)]
pub(super) struct Starter {
    program: PathBuf,
    /// None until one is wanted.
    running: Mutex<Option<RunningStarter>>,
}

#[derive(Debug)]
struct RunningStarter {
    way: UnixStream,
    process: Arc<Mutex<Child>>,
    /// The thread that launchers are the children of does not end while there is one of these.
    parent: Sender<()>,
}

impl Starter {
    pub(super) const fn new(program: PathBuf) -> Self {
        Self {
            program,
            running: Mutex::new(None),
        }
    }

    /// Starts a launcher with these three streams; the other answer is where it says why it did not work out.
    pub(super) fn start(
        &self,
        plan: &str,
        streams: [OwnedFd; 3],
    ) -> io::Result<(Launcher, PipeReader)> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = running.take()
            && let Ok(started) = there.start(plan, &streams)
        {
            *running = Some(there);
            return Ok(started);
        }
        // None is there, or it was killed, or it hung. A launcher of it that comes late finds that nobody hears it, and starts nothing.
        let new = RunningStarter::begin(&self.program)?;
        let started = new.start(plan, &streams)?;
        *running = Some(new);
        Ok(started)
    }
}

impl RunningStarter {
    fn begin(program: &Path) -> io::Result<Self> {
        let (way, theirs) = UnixStream::pair()?;
        way.set_write_timeout(Some(BEGIN))?;
        let mut command = std::process::Command::new(program);
        command
            .args([START, &getpid().to_string()])
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null());
        let ((parent, children), (tell, told)) = (channel::<()>(), channel());
        // A process that is to die with its parent dies when the thread ends that started it (prctl(2), PR_SET_PDEATHSIG). This one lives
        // as long as the starter and all launchers.
        std::thread::Builder::new()
            .name("launchers".to_owned())
            .spawn(move || {
                let begun = command.spawn();
                // It holds the starter's end of the way.
                drop(command);
                match begun {
                    Ok(starter) => {
                        let id = Pid::from_raw(starter.id() as i32);
                        let starter = Arc::new(Mutex::new(starter));
                        let _ = tell.send(Ok(starter.clone()));
                        // Its id stays its own until it is waited for, and nobody who is about to kill it may have to wait.
                        while waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
                            == Err(Errno::EINTR)
                        {}
                        let _ = starter
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .wait();
                        let _ = children.recv();
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            })?;
        let process = told.recv().map_err(io::Error::other)??;
        Ok(Self {
            way,
            process,
            parent,
        })
    }

    fn start(&self, plan: &str, streams: &[OwnedFd; 3]) -> io::Result<(Launcher, PipeReader)> {
        let (mut heard, word) = io::pipe()?;
        let length = u32::try_from(plan.len()).map_err(io::Error::other)?;
        let [input, output, errors] = streams.each_ref().map(AsFd::as_fd);
        handles::give(
            &self.way,
            &length.to_ne_bytes(),
            &[input, output, errors, word.as_fd()],
        )?;
        // Nobody has its other end but the launcher, from here on.
        drop(word);
        (&self.way).write_all(plan.as_bytes())?;
        if !handles::is_readable_within(&heard, BEGIN)? {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no launcher began within {} s", BEGIN.as_secs()),
            ));
        }
        let mut process = [0; 4];
        heard
            .read_exact(&mut process)
            .map_err(|_| io::Error::other("a launcher was ended before it began"))?;
        match i32::from_ne_bytes(process) {
            process if process > 0 => Ok((
                Launcher {
                    process: Pid::from_raw(process),
                    ended: None,
                    _parent: self.parent.clone(),
                },
                heard,
            )),
            refused => Err(io::Error::from_raw_os_error(-refused)),
        }
    }
}

/// One that hangs has the streams of a command on their way to it, which nobody would see the end of.
impl Drop for RunningStarter {
    fn drop(&mut self) {
        let _ = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .kill();
    }
}

/// A launcher that was started. If nobody waits for it, it is killed.
#[derive(Debug)]
pub(super) struct Launcher {
    process: Pid,
    ended: Option<WaitStatus>,
    _parent: Sender<()>,
}

impl Launcher {
    /// Kills it, if it has not ended.
    pub(super) fn kill(&self) -> io::Result<()> {
        match self.ended {
            // Nobody has waited for it, so its id is nobody else's.
            None => Ok(kill(self.process, Signal::SIGKILL)?),
            Some(_) => Ok(()),
        }
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> io::Result<WaitStatus> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        let ended = loop {
            match waitpid(self.process, None) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        self.ended = Some(ended);
        Ok(ended)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.wait();
    }
}

/// Becomes the starter of launchers if that is what this process was started for. To be called first thing in `main`, before there
/// are threads.
pub fn main_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(START) {
        std::process::exit(main(&arguments.next().unwrap_or_default()));
    }
}

/// The starter's part: forks as it is told, until nobody tells it any more.
fn main(runner: &str) -> i32 {
    match serve(runner) {
        Ok(status) => status,
        Err(problem) => {
            eprintln!("sandbox: {problem}");
            NOT_SET_UP
        }
    }
}

fn serve(runner: &str) -> SetupResult<i32> {
    // As ps(1) and top(1) show it.
    set_name(c"starter").doing("its name")?;
    die_with_parent()?;
    if getppid().to_string() != runner {
        // It was killed before the kernel knew of this process: nobody is there to tell it anything.
        return Ok(NOT_SET_UP);
    }
    stand_alone(WORD)?;
    // SAFETY: the runner that starts a starter gives it this as its standard input, and nothing else in this process uses that.
    let way = UnixStream::from(unsafe { OwnedFd::from_raw_fd(WAY) });
    while let Some((plan, given)) = told(&way).doing("a plan")? {
        // SAFETY: this process has one thread.
        match unsafe { fork_as(Fork::Beside) } {
            Ok(ForkResult::Child) => std::process::exit(begin(&plan, given)?),
            Ok(ForkResult::Parent { .. }) => {}
            Err(error) => {
                let [.., word] = given;
                let _ = File::from(word).write_all(&(-(error as i32)).to_ne_bytes());
            }
        }
    }
    Ok(0)
}

/// A plan, and what the launcher is given; none if the runner wants no more.
fn told(mut way: &UnixStream) -> io::Result<Option<(String, [OwnedFd; GIVEN])>> {
    let mut length = [0; 4];
    let (there, given) = handles::take(way, &mut length)?;
    if there == 0 {
        return Ok(None);
    }
    way.read_exact(&mut length[there..])?;
    let mut plan = vec![0; u32::from_ne_bytes(length) as usize];
    way.read_exact(&mut plan)?;
    let plan = String::from_utf8(plan).map_err(io::Error::other)?;
    let given = given
        .try_into()
        .map_err(|given: Vec<_>| io::Error::other(format!("{} handles", given.len())))?;
    Ok(Some((plan, given)))
}

/// In the new process: puts what it was given into its places, says who it is, and is a launcher from there on.
fn begin(plan: &str, given: [OwnedFd; GIVEN]) -> SetupResult<i32> {
    for (place, handle) in given.into_iter().enumerate() {
        // Kept open, as a number: the place of one is where another was, and what is left of them is closed together.
        let handle = handle.into_raw_fd();
        let place = place as RawFd;
        let closes = if place == WORD { libc::O_CLOEXEC } else { 0 };
        // SAFETY: it takes numbers. The three streams are this process's own, and of what was given in this order, each to the lowest
        // number that was free, none lies at its place or before it.
        Errno::result(unsafe { libc::dup3(handle, place, closes) }).doing("a stream")?;
    }
    // SAFETY: it was put there just now, and nothing else knows of it.
    let mut word = File::from(unsafe { OwnedFd::from_raw_fd(WORD) });
    word.write_all(&getpid().as_raw().to_ne_bytes())
        .doing("the first word")?;
    Ok(launcher::main(plan, word))
}
