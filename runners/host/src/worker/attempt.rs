//! One task from lease to answer: a thread keeps the lease, another sends the log, this one runs the plugin.

use super::fetch::{self, PluginError};
use super::folder;
use super::report::{ANSWER, GOODBYE, TaskResult, explained, hand_in_roots, report};
use super::runner::Runner;
use crate::line::client::DeskError;
use crate::line::lease::{self, Keeper};
use crate::line::log::TaskLog;
use crate::line::stop::{Stop, Why};
use crate::machine::arch::Facts;
use crate::machine::removal::remove_folder;
use crate::plugin::end::End;
use crate::plugin::engine::EngineError;
use crate::plugin::failed::FailedSandbox;
use crate::plugin::job::{GRACE, Job};
use crate::plugin::outcome;
use millrace_core::chain;
use millrace_core::protocol::{Offer, Work};
use millrace_core::roots::{Lock, LockError};
use millrace_core::task::{Blame, Failure, LeaseId, Outcome, cut};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tracing::{Span, info, info_span, warn};

/// In the log of a task that could have fetched what nobody keeps.
const NETWORK_IS_OPEN: &str = "the platform opens the network for this step: its commands reach what this runner's machine reaches";

/// Why a plugin could not be run on a task.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("the plugin `{plugin}`: {source}")]
    FetchPlugin { plugin: String, source: DeskError },
    #[error("the plugin `{plugin}` cannot be run")]
    UnfitPlugin { plugin: String, source: EngineError },
    #[error(transparent)]
    Engine(EngineError),
    #[error("the lock: {0}")]
    FetchLock(#[source] DeskError),
    #[error("the lock that was asked for: {0}")]
    WrongLock(#[source] LockError),
    #[error("{}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("what was in the roots: {0}")]
    Roots(#[source] DeskError),
    #[error("the runner made a mistake; its own log has more")]
    Panicked,
}

impl TaskError {
    fn failure(&self) -> Failure {
        let blame = match self {
            Self::UnfitPlugin { .. } => Blame::Plugin,
            Self::WrongLock(_) => Blame::Configuration,
            Self::FetchPlugin { .. }
            | Self::Engine(_)
            | Self::FetchLock(_)
            | Self::Folder { .. }
            | Self::Roots(_)
            | Self::Panicked => Blame::Environment,
        };
        Failure::new(blame, cut(&chain(self)))
    }
}

/// A task that is leased to this runner.
struct Attempt<'a> {
    runner: &'a Runner,
    lease: LeaseId,
    /// All that it has on the disk.
    folder: PathBuf,
    log: Arc<TaskLog>,
    stop: Arc<Stop>,
}

/// Which lease an offer makes.
pub(super) fn lease_of(offer: &Offer) -> LeaseId {
    LeaseId {
        build: offer.work.build.clone(),
        task: offer.work.task.clone(),
        number: offer.lease.number,
    }
}

/// Does one task, and answers it.
pub(super) fn work(runner: &Runner, offer: Offer) {
    let lease = lease_of(&offer);
    let LeaseId {
        build,
        task,
        number,
    } = &lease;
    let _span = info_span!("task", %build, %task, lease = %number).entered();
    let attempt = Attempt {
        runner,
        folder: runner.tasks.join(format!("{build}-{task}-{number}")),
        log: Arc::new(TaskLog::new(offer.work.sandbox.limits.log_bytes)),
        stop: Arc::default(),
        lease,
    };
    attempt.go_through(offer);
}

impl Attempt<'_> {
    fn go_through(&self, offer: Offer) {
        let began = Instant::now();
        self.say_what_is_unusual(&offer.work);
        let limits = offer.work.sandbox.limits;
        let keeper = Keeper {
            desk: &self.runner.services.desk,
            lease_id: &self.lease,
            beat: lease::beat(offer.renew_s),
            end: began + Duration::from_secs(u64::from(limits.time_s)) + GRACE,
            silence: Duration::from_secs(limits.silence_s.into()),
            log: &self.log,
            stop: &self.stop,
            runner_stops: &self.runner.stop,
        };
        let plugin_ended = AtomicBool::new(false);
        let reported = AtomicBool::new(false);
        let span = Span::current();
        info!(plugin = %offer.work.plugin_name, "the task begins");
        std::thread::scope(|threads| {
            threads.spawn(|| span.in_scope(|| keeper.keep(&reported)));
            let sender = threads.spawn(|| {
                let _span = span.enter();
                let desk = &self.runner.services.desk;
                lease::send_log(desk, &self.lease, &self.log, &self.stop, &plugin_ended);
            });
            let result = self.result(offer.work);
            plugin_ended.store(true, Ordering::SeqCst);
            let _ = sender.join();
            self.answer(result);
            reported.store(true, Ordering::SeqCst);
        });
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(took_ms, "the task has ended");
    }

    /// Tells the reader of the log in what way its commands run that others do not.
    fn say_what_is_unusual(&self, work: &Work) {
        if let Some(unbounded) = &self.runner.unbounded {
            self.log.line(unbounded);
        }
        if work.sandbox.network {
            self.log.line(NETWORK_IS_OPEN);
        }
        let own = self.runner.services.arch;
        if let Some(arch) = work.arch.filter(|arch| *arch != own) {
            let emulator = Facts::of(arch).emulator;
            self.log.line(&format!(
                "{arch} is emulated on {own}, by {emulator}: what runs in a root takes several times as long"
            ));
        }
    }

    fn answer(&self, result: TaskResult) {
        match self.stop.why() {
            Some(Why::LeaseLost(reason)) => {
                warn!(reason, "the task is dropped");
            }
            Some(Why::RunnerStops) => {
                let result = TaskResult::of(outcome::handed_back());
                report(self.runner, &self.lease, result, GOODBYE);
            }
            Some(Why::TimedOut | Why::Silent) | None => {
                report(self.runner, &self.lease, result, ANSWER);
            }
        }
    }

    /// What came of the task; its folder is gone then, or held. A bug of the host must not take the runner down: the task goes back, and
    /// is quarantined after a few of them.
    fn result(&self, work: Work) -> TaskResult {
        let performed = catch_unwind(AssertUnwindSafe(|| self.perform(work)))
            .unwrap_or(Err(TaskError::Panicked));
        let (TaskResult { outcome, roots }, failed) = performed.unwrap_or_else(|error| {
            let outcome = Outcome::Failed(error.failure());
            (TaskResult::of(outcome), None)
        });
        // What has ended now may have done so since the machine shuts down.
        let outcome = if self.runner.stops() {
            outcome::handed_back()
        } else {
            outcome
        };
        let outcome = explained(outcome, &self.log);
        match failed.filter(|_| !self.is_lost() && !self.runner.stops()) {
            Some(failed) => self.runner.held.hold(failed, &self.log),
            None => self.remove_folder(),
        }
        TaskResult { outcome, roots }
    }

    fn remove_folder(&self) {
        if let Err(error) = remove_folder(&self.folder) {
            let folder = self.folder.display();
            warn!(%folder, problem = chain(&error), "the task's folder stays");
        }
    }

    /// Whether the task is not this runner's any more.
    fn is_lost(&self) -> bool {
        matches!(self.stop.why(), Some(Why::RunnerStops | Why::LeaseLost(_)))
    }

    /// Runs the plugin. With what came of it comes the sandbox in which it failed, if that shall be held.
    fn perform(&self, work: Work) -> Result<(TaskResult, Option<FailedSandbox>), TaskError> {
        let plugin_name = work.plugin_name.clone();
        let limits = work.sandbox.limits;
        let plugin = fetch::plugin(self.runner, &work.plugin, &self.stop)
            .map_err(|error| no_plugin(&plugin_name, error))?;
        let lock = self.lock(&work)?;
        let job = self.job(work, lock)?;
        let (end, mut job) = self.runner.engine.run(&plugin, job);
        let end = match (end, self.stop.why()) {
            (End::Stopped, Some(Why::TimedOut)) => End::TimedOut,
            (End::Stopped, Some(Why::Silent)) => End::Silent,
            (end, _) => end,
        };
        let failed = job.take_failed_sandbox(&self.folder);
        let (published, roots) = job.into_results();
        let roots = roots
            .filter(|_| !self.is_lost())
            .map(|roots| hand_in_roots(self.runner, &roots, &self.lease))
            .transpose()
            .map_err(TaskError::Roots)?;
        let outcome = outcome::of(end, &plugin_name, &limits, published);
        // Nobody can mend in there what is not the package's doing.
        let failed = failed.filter(|_| is_by_package(&outcome));
        Ok((TaskResult { outcome, roots }, failed))
    }

    /// What the task's roots shall have, if somebody asks for a build as it was.
    fn lock(&self, work: &Work) -> Result<Option<Arc<Lock>>, TaskError> {
        let Some(digest) = &work.lock else {
            return Ok(None);
        };
        let text = fetch::lock(self.runner, digest, &self.stop).map_err(TaskError::FetchLock)?;
        let lock = Lock::parse(&text).map_err(TaskError::WrongLock)?;
        Ok(Some(Arc::new(lock)))
    }

    fn job(&self, work: Work, lock: Option<Arc<Lock>>) -> Result<Job, TaskError> {
        let failed = |folder: &Path, source| TaskError::Folder {
            folder: folder.to_owned(),
            source,
        };
        let shared =
            folder::make_for_task(&self.folder).map_err(|source| failed(&self.folder, source))?;
        Job::new(
            work,
            lock,
            self.lease.clone(),
            &shared,
            self.log.clone(),
            self.stop.clone(),
            self.runner.services.clone(),
        )
        .map_err(|source| failed(&shared, source))
    }
}

fn no_plugin(plugin: &str, error: PluginError) -> TaskError {
    let plugin = plugin.to_owned();
    match error {
        PluginError::Desk(source) => TaskError::FetchPlugin { plugin, source },
        PluginError::Engine(source @ EngineError::Unfit(_)) => {
            TaskError::UnfitPlugin { plugin, source }
        }
        PluginError::Engine(error) => TaskError::Engine(error),
    }
}

fn is_by_package(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Failed(Failure {
            blame: Blame::Package,
            ..
        })
    )
}
