//! A runner: asks the line for work, does it, answers, and asks again.

pub mod notice;

use crate::doctor::{self, Candidate};
use crate::hold::{Holds, Kept};
use crate::line::client::{Answer, DeskError, patiently, pause, wait};
use crate::line::lease::{self, Keeper};
use crate::line::log::TaskLog;
use crate::line::stop::{Stop, Why};
use crate::machine::arch::Facts;
use crate::machine::emulation::{self, EmulationError};
use crate::machine::removal::remove_folder;
use crate::plugin::engine::{Code, End, EngineError, Plugin, PluginLimits};
use crate::plugin::job::{GRACE, Job};
use crate::plugin::machine::Machine;
use crate::plugin::outcome;
use millrace_core::protocol::{Ask, Holding, Offer, Report, WAIT_S_MAX, Work};
use millrace_core::roots::{LOCK_BYTES_MAX, Lock, LockError, TaskRoots};
use millrace_core::task::{Blame, Failure, Outcome};
use millrace_core::{Arch, Digest, FeatureName, RunnerName};
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Largest plugin, in bytes: a Python one has 18 MB.
const PLUGIN_BYTES_MAX: u64 = 256 << 20;

/// How long a stopping runner tries to hand its task back; a supervisor kills what has not stopped after 10 s.
const GOODBYE: Duration = Duration::from_secs(3);

/// How long an answer is tried to be handed in. After that the line has leased the task to somebody else many times over.
const ANSWER: Duration = Duration::from_secs(3600);

/// The record, for whoever reads the log of a task that could have fetched what nobody keeps.
const NETWORK_IS_OPEN: &str = "the platform opens the network for this step: its commands reach what this runner's machine reaches";

/// How soon a runner that waits for work sees that it shall stop.
const LOOK: Duration = Duration::from_millis(50);

/// What a runner needs to know.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Where the line is: `http://127.0.0.1:8080`.
    pub desk_url: String,
    /// What it is known by there.
    pub token: String,
    /// Its name.
    pub runner: RunnerName,
    /// What it builds for.
    pub arch: Arch,
    /// What it builds for besides, by emulation.
    pub emulates: Vec<Arch>,
    /// A folder of its own, for roots, compiled plugins and the tasks at hand.
    pub state: PathBuf,
    /// The program that starts commands in the sandbox.
    pub launcher: PathBuf,
    /// What this machine has and not every other, in its keeper's words.
    pub features: BTreeSet<FeatureName>,
    /// What plugins are compiled to.
    pub code: Code,
    /// A folder for what plugins ask for, a file a task; none where nobody wants to know.
    pub traces: Option<PathBuf>,
}

/// Why a runner cannot run. A retry does not help; whoever set it up must act.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its folder cannot be used.
    #[error("the runner's folder {folder}: {source}")]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another runner works in its folder, and each would throw away what the other has begun.
    #[error(
        "the runner's folder {folder} is in use by the process {process}: give this runner a folder of its own, or stop that one"
    )]
    Held {
        /// Which.
        folder: PathBuf,
        /// Of whom.
        process: String,
    },
    /// A protection that matters is missing.
    #[error(
        "no task may run on this machine (`millrace runner doctor` says all there is to say; a line takes --no-runner):\n{0}"
    )]
    Unprotected(String),
    /// It shall emulate what it cannot.
    #[error(transparent)]
    Emulation(#[from] EmulationError),
    /// wasmtime does not work here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The line does not know it.
    #[error("{0}: make a token with `millrace runner add`, and give it to this runner")]
    Unauthorized(DeskError),
}

/// Whether this process could do any task at all; to be asked before the line is told of a runner. It takes some tenths of a second.
pub fn may_run(config: &WorkerConfig) -> Result<(), WorkerError> {
    let candidate = Candidate {
        folder: &config.state,
        launcher: &config.launcher,
        line_url: None,
        no_namespace: None,
    };
    doctor::refusal(&doctor::examine(&candidate))
        .map_or(Ok(()), |words| Err(WorkerError::Unprotected(words)))
}

/// Works until `stop` is set, then hands back the task at hand. Answers early only where nothing would ever come of it.
pub fn run(config: WorkerConfig, stop: Arc<AtomicBool>) -> Result<(), WorkerError> {
    emulation::check(config.arch, &config.emulates)?;
    let _lock = lock(&config.state)?;
    let (tasks, left) = fresh_folder(&config.state.join("tasks"))?;
    let machine = Arc::new(Machine::new(&config, PluginLimits::default())?);
    let holds = Holds::begin(config.runner.clone(), machine.clone(), stop.clone());
    let worker = Arc::new(Worker {
        name: config.runner,
        emulates: config.emulates,
        tasks,
        machine,
        stop,
        holds,
    });
    left.iter()
        .chain(&worker.machine.unbounded)
        .for_each(|what| worker.say(what));
    let ended = worker.serve();
    worker.holds.end_all("its runner has left", GOODBYE);
    ended
}

/// Takes the runner's folder for this process, as long as the answer is kept.
fn lock(folder: &Path) -> Result<File, WorkerError> {
    let failed = |source| WorkerError::Folder {
        folder: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process = io::read_to_string(&file).map_err(failed)?;
            return Err(WorkerError::Held {
                folder: folder.to_owned(),
                process,
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

/// Makes a folder anew: what a runner left that was killed is of no use to anybody. What cannot be removed is in nobody's way, and is
/// answered in words.
fn fresh_folder(folder: &Path) -> Result<(PathBuf, Vec<String>), WorkerError> {
    let failed = |source| WorkerError::Folder {
        folder: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let mut left = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if let Err(error) = remove_folder(&path) {
            left.push(format!("{} stays: {error}", path.display()));
        }
    }
    Ok((folder.to_owned(), left))
}

struct Worker {
    name: RunnerName,
    emulates: Vec<Arch>,
    tasks: PathBuf,
    machine: Arc<Machine>,
    stop: Arc<AtomicBool>,
    holds: Arc<Holds>,
}

impl Worker {
    /// Does one task after the other until it is to stop.
    fn serve(self: &Arc<Self>) -> Result<(), WorkerError> {
        let mut failed = 0;
        while !self.stops() {
            match self.next_offer() {
                Ok(Answer::Work(offer)) => {
                    failed = 0;
                    self.work(*offer);
                }
                Ok(Answer::Nothing(ask_again)) => {
                    failed = 0;
                    wait(ask_again, &self.stop);
                }
                Err(error @ DeskError::Unauthorized(_)) => {
                    return Err(WorkerError::Unauthorized(error));
                }
                Err(error @ DeskError::Leave(_)) => {
                    self.say(&error.to_string());
                    return Ok(());
                }
                Err(error) => {
                    failed += 1;
                    // Once, when it begins: a line that is away for a night fills no disk.
                    if failed == 1 {
                        self.say(&format!("{error}; trying again until it does"));
                    }
                    wait(pause(failed), &self.stop);
                }
            }
        }
        Ok(())
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn say(&self, what: &str) {
        eprintln!("runner {}: {what}", self.name);
    }

    /// Waits for work on the line. In a thread, since a stop must not wait as long as the desk does; an offer that comes after the
    /// stop is handed back at once.
    fn next_offer(self: &Arc<Self>) -> Result<Answer, DeskError> {
        let (give, take) = channel();
        let worker = self.clone();
        std::thread::spawn(move || {
            let (runner, capacity) = (worker.name.clone(), worker.machine.capacity());
            let (arch, emulates) = (worker.machine.arch, worker.emulates.clone());
            let ask = Ask {
                runner,
                arch,
                emulates,
                wait_s: WAIT_S_MAX,
                capacity,
            };
            if let Err(unheard) = give.send(worker.machine.desk.lease(&ask))
                && let Ok(Answer::Work(offer)) = unheard.0
            {
                worker.hand_back(&offer);
            }
        });
        loop {
            match take.recv_timeout(LOOK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if self.stops() => {
                    return Ok(Answer::Nothing(Duration::ZERO));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Answer::Nothing(Duration::ZERO)),
            }
        }
    }

    fn hand_back(&self, offer: &Offer) {
        self.report(
            &holding_of(offer),
            Done::of(outcome::handed_back()),
            GOODBYE,
        );
    }

    /// Does one task from lease to answer.
    fn work(&self, offer: Offer) {
        let holding = holding_of(&offer);
        let (name, began) = (
            format!("{}/{}", offer.work.build, offer.work.task),
            Instant::now(),
        );
        let stop = Arc::new(Stop::default());
        let log = Arc::new(TaskLog::new(offer.work.sandbox.limits.log_bytes));
        let (ended, reported) = (AtomicBool::new(false), AtomicBool::new(false));
        if let Some(unbounded) = &self.machine.unbounded {
            log.line(unbounded);
        }
        if offer.work.sandbox.network {
            log.line(NETWORK_IS_OPEN);
        }
        let own = self.machine.arch;
        if let Some(arch) = offer.work.arch.filter(|arch| *arch != own) {
            let emulator = Facts::of(arch).emulator;
            log.line(&format!("{arch} is emulated on {own}, by {emulator}: what runs in a root takes several times as long"));
        }
        let (desk, beat) = (&self.machine.desk, lease::beat(offer.renew_s));
        let silence = Duration::from_secs(offer.work.sandbox.limits.silence_s.into());
        let end = began + Duration::from_secs(u64::from(offer.work.sandbox.limits.time_s)) + GRACE;
        let keeper = Keeper {
            desk,
            holding: &holding,
            beat,
            end,
            silence,
            log: &log,
            stop: &stop,
            runner_stops: &self.stop,
        };
        std::thread::scope(|threads| {
            threads.spawn(|| keeper.keep(&reported));
            let sender = threads.spawn(|| lease::send_log(desk, &holding, &log, &stop, &ended));
            let Done { outcome, roots } = self.outcome(offer.work, &holding, &log, &stop);
            ended.store(true, Ordering::SeqCst);
            let _ = sender.join();
            match stop.why() {
                Some(Why::LeaseLost(reason)) => self.say(&format!("{name} dropped: {reason}")),
                Some(Why::RunnerStops) => {
                    self.report(&holding, Done::of(outcome::handed_back()), GOODBYE)
                }
                Some(Why::TimedOut | Why::Silent) | None => {
                    self.report(&holding, Done { outcome, roots }, ANSWER)
                }
            }
            reported.store(true, Ordering::SeqCst);
        });
        self.say(&format!(
            "{name} ended after {:.1} s",
            began.elapsed().as_secs_f64()
        ));
    }

    /// A bug of the host must not take the runner down: the task goes back, and is quarantined after a few of them.
    fn outcome(&self, work: Work, holding: &Holding, log: &Arc<TaskLog>, stop: &Arc<Stop>) -> Done {
        let folder = self.tasks.join(format!(
            "{}-{}-{}",
            holding.build, holding.task, holding.lease
        ));
        let perform = AssertUnwindSafe(|| self.perform(work, holding, &folder, log, stop));
        let done = catch_unwind(perform)
            .unwrap_or_else(|_| Err("the runner made a mistake; its own log has more".to_owned()));
        let trouble = |reason| {
            (
                Done::of(Outcome::Failed(Failure::new(Blame::Environment, reason))),
                None,
            )
        };
        let (Done { outcome, roots }, kept) = done.unwrap_or_else(trouble);
        // What has come to its end now may have done so since the machine shuts down.
        let outcome = if self.stops() {
            outcome::handed_back()
        } else {
            outcome
        };
        let outcome = explained(outcome, log);
        match kept.filter(|_| !is_gone(stop) && !self.stops()) {
            Some(kept) => self.holds.hold(kept, log),
            None => {
                if let Err(error) = remove_folder(&folder) {
                    self.say(&format!("{} stays: {error}", folder.display()));
                }
            }
        }
        Done { outcome, roots }
    }

    /// Runs the plugin; an error is the runner's own. With what came of it comes the sandbox in which it failed, where that is wanted.
    fn perform(
        &self,
        work: Work,
        holding: &Holding,
        folder: &Path,
        log: &Arc<TaskLog>,
        stop: &Arc<Stop>,
    ) -> Result<(Done, Option<Kept>), String> {
        let (plugin_name, limits) = (work.plugin_name.clone(), work.sandbox.limits);
        let plugin = match self.plugin(&work.plugin, stop) {
            Ok(plugin) => plugin,
            Err(PluginError::Desk(error)) => {
                return Err(format!("the plugin `{plugin_name}`: {error}"));
            }
            Err(PluginError::Engine(EngineError::Unfit(problem))) => {
                let reason = format!("the plugin `{plugin_name}` cannot be run: {problem}");
                let failure = Failure::new(Blame::Plugin, millrace_core::task::cut(&reason));
                return Ok((Done::of(Outcome::Failed(failure)), None));
            }
            Err(PluginError::Engine(error)) => return Err(error.to_string()),
        };
        let lock = match work
            .lock
            .map(|digest| self.lock(&digest, stop))
            .transpose()?
        {
            Some(Err(problem)) => {
                let failure = Failure::new(
                    Blame::Configuration,
                    format!("the lock that was asked for: {problem}"),
                );
                return Ok((Done::of(Outcome::Failed(failure)), None));
            }
            other => other.and_then(Result::ok),
        };
        let shared =
            make_task_folder(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let job = Job::new(
            work,
            lock,
            holding.clone(),
            &shared,
            log.clone(),
            stop.clone(),
            self.machine.clone(),
        );
        let job = job.map_err(|error| format!("{}: {error}", shared.display()))?;
        let (end, mut job) = self.machine.engine.run(&plugin, job);
        let end = match (end, stop.why()) {
            (End::Stopped, Some(Why::TimedOut)) => End::TimedOut,
            (End::Stopped, Some(Why::Silent)) => End::Silent,
            (end, _) => end,
        };
        let kept = job.take_kept(folder);
        let (published, roots) = job.into_results();
        let roots = roots
            .filter(|_| !is_gone(stop))
            .map(|roots| self.hand_in(&roots, holding))
            .transpose()?;
        let outcome = outcome::of(end, &plugin_name, &limits, published);
        // Nobody can mend in there what is not the package's doing.
        let is_its_doing = matches!(
            &outcome,
            Outcome::Failed(Failure {
                blame: Blame::Package,
                ..
            })
        );
        Ok((Done { outcome, roots }, kept.filter(|_| is_its_doing)))
    }

    /// Hands in what was in a task's roots.
    fn hand_in(&self, roots: &TaskRoots, holding: &Holding) -> Result<Digest, String> {
        let bytes = serde_json::to_vec(roots).map_err(|error| error.to_string())?;
        let digest = Digest::of(&bytes);
        let send = || {
            self.machine
                .desk
                .upload(holding, &digest, bytes.len() as u64, &mut bytes.as_slice())
        };
        patiently(ANSWER, &self.stop, send)
            .map_err(|error| format!("what was in the roots: {error}"))?;
        Ok(digest)
    }

    /// What the roots of a task are to have; what is wrong with that is for who has asked for it.
    fn lock(&self, digest: &Digest, stop: &Stop) -> Result<Result<Arc<Lock>, LockError>, String> {
        let fetch = || {
            let mut bytes = Bounded {
                bytes: Vec::new(),
                bytes_max: LOCK_BYTES_MAX,
            };
            self.machine
                .desk
                .download(digest, &mut bytes)
                .map(|_| bytes.bytes)
        };
        let bytes =
            patiently(ANSWER, stop.flag(), fetch).map_err(|error| format!("the lock: {error}"))?;
        Ok(Lock::parse(&bytes).map(Arc::new))
    }

    fn plugin(&self, digest: &Digest, stop: &Stop) -> Result<Plugin, PluginError> {
        if let Some(plugin) = self.machine.engine.loaded(digest) {
            return Ok(plugin);
        }
        let fetch = || {
            let mut bytes = Bounded {
                bytes: Vec::new(),
                bytes_max: PLUGIN_BYTES_MAX,
            };
            self.machine
                .desk
                .download(digest, &mut bytes)
                .map(|_| bytes.bytes)
        };
        let component = patiently(ANSWER, stop.flag(), fetch).map_err(PluginError::Desk)?;
        self.machine
            .engine
            .compile(digest, &component)
            .map_err(PluginError::Engine)
    }

    /// Hands in an answer. Where the line refuses it for what it says, the task fails with the line's words instead.
    fn report(&self, holding: &Holding, Done { outcome, roots }: Done, time: Duration) {
        let never = AtomicBool::new(false);
        // A runner that is stopped while the line is away does not hang on.
        let stop = if time == GOODBYE { &never } else { &*self.stop };
        let send = |outcome: Outcome| {
            let report = Report {
                holding: holding.clone(),
                outcome,
                roots,
            };
            patiently(time, stop, || self.machine.desk.report(&report))
        };
        let answer = match send(outcome) {
            Err(DeskError::Refused { message, .. }) => send(Outcome::Failed(Failure::new(
                Blame::Environment,
                format!("the line refused the answer: {message}"),
            ))),
            other => other,
        };
        if let Err(error) = answer {
            self.say(&format!(
                "{}/{}: the answer did not arrive: {error}",
                holding.build, holding.task
            ));
        }
    }
}

/// Whether a task is not this runner's any more.
fn is_gone(stop: &Stop) -> bool {
    matches!(stop.why(), Some(Why::RunnerStops | Why::LeaseLost(_)))
}

/// What a task has come to.
struct Done {
    outcome: Outcome,
    /// What was in its roots, handed in.
    roots: Option<Digest>,
}

impl Done {
    /// An answer of a task that had no roots.
    const fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            roots: None,
        }
    }
}

/// A failure with the last word of its log, and what the log says that it was.
fn explained(outcome: Outcome, log: &TaskLog) -> Outcome {
    let Outcome::Failed(failure) = outcome else {
        return outcome;
    };
    log.section("failed");
    log.line(&failure.reason);
    // What nobody but the package's author can mend is looked for in what the package has printed.
    let cause = matches!(failure.blame, Blame::Package)
        .then(|| log.cause())
        .flatten();
    Outcome::Failed(Failure { cause, ..failure })
}

enum PluginError {
    Desk(DeskError),
    Engine(EngineError),
}

/// Bytes in memory, up to a bound.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > self.bytes_max {
            return Err(io::Error::other(format!(
                "it is larger than {} bytes",
                self.bytes_max
            )));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn holding_of(offer: &Offer) -> Holding {
    Holding {
        build: offer.work.build.clone(),
        task: offer.work.task.clone(),
        lease: offer.lease.number,
    }
}

/// A folder for a task, and in it the one that commands see as `/work`. Those run as another user, so it is open to all; the
/// folder around it is not.
fn make_task_folder(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let shared = folder.join("work");
    fs::create_dir(&shared)?;
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777))?;
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_was_too_deep_for_others_to_remove_keeps_no_runner_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = folder.path().join("tasks");
        fs::create_dir_all(tasks.join("old/work")).unwrap();
        crate::machine::removal::tests::dig(&tasks.join("old/work"), 5000, 1);
        assert_eq!(fresh_folder(&tasks).unwrap(), (tasks.clone(), Vec::new()));
        assert_eq!(fs::read_dir(&tasks).unwrap().count(), 0);
    }
}
