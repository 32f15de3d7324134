//! One task while a plugin works on it: everything that its imports reach, and nothing else.

use super::bindings;
use super::capability::Grants;
use super::failed::{FailedRun, FailedSandbox, LastFailure};
use super::folder::Folder;
use super::limiter::MemoryLimiter;
use super::services::HostServices;
use super::task_root::TaskRoot;
use super::trace::Trace;
use super::wasi_state::WasiState;
use crate::buildroot::Root;
use crate::line::log::TaskLog;
use crate::line::stop::Stop;
use millrace_core::hold::HOLD_S_MAX;
use millrace_core::protocol::Work;
use millrace_core::roots::{self, Lock, TaskRoots};
use millrace_core::task::{Artifact, LeaseId};
use std::fmt::Arguments;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::{Resource, ResourceTable};

/// A task's state.
pub struct Job {
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiState,
    pub(crate) memory: MemoryLimiter,
    pub(crate) grants: Grants,
    pub(crate) folder: Folder,
    pub(crate) log: Arc<TaskLog>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) services: Arc<HostServices>,
    pub(crate) work: Work,
    pub(crate) lease: LeaseId,
    pub(crate) published: Vec<Artifact>,
    pub(crate) trace: Trace,
    /// What failed last, if its sandbox shall be held.
    last_failure: Option<LastFailure>,
    /// How many roots it has.
    pub(crate) roots: usize,
    /// What was in those that it has had.
    pub(crate) had: Vec<roots::Root>,
    /// What its roots shall have.
    pub(crate) lock: Option<Arc<Lock>>,
    deadline: Instant,
}

/// How long a plugin may go on after the task's time is over, so that it can say what took so long.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

impl Job {
    /// A task that begins now, in an existing folder that nobody else uses.
    pub fn new(
        work: Work,
        lock: Option<Arc<Lock>>,
        lease: LeaseId,
        folder: &Path,
        log: Arc<TaskLog>,
        stop: Arc<Stop>,
        services: Arc<HostServices>,
    ) -> io::Result<Self> {
        let name = format!("{}-{}-{}", lease.build, lease.task, lease.number);
        Ok(Self {
            trace: Trace::begin(services.traces.as_deref(), &name)?,
            table: ResourceTable::new(),
            wasi: WasiState::new(work.source_date_epoch_s),
            memory: MemoryLimiter::default(),
            grants: Grants::new(&work.inputs),
            folder: Folder::open(folder, work.sandbox.limits.disk_bytes)?,
            log,
            stop,
            services,
            lease,
            published: Vec::new(),
            last_failure: None,
            roots: 0,
            had: Vec::new(),
            lock,
            deadline: Instant::now() + Duration::from_secs(u64::from(work.sandbox.limits.time_s)),
            work,
        })
    }

    /// The task as the plugin is told of it.
    pub(crate) fn task(&self) -> bindings::types::Task {
        let work = &self.work;
        bindings::types::Task {
            id: format!("{}/{}", work.build, work.task),
            package: work.package.to_string(),
            commit: work.commit.to_string(),
            spec: work.spec.clone(),
            arch: work.arch.unwrap_or(self.services.arch).to_string(),
            platform: work.platform.to_string(),
            macros: work
                .macros
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            source_date_epoch: work.source_date_epoch_s,
            inputs: work.inputs.iter().map(Into::into).collect(),
            config: serde_json::to_string(&work.config).expect("JSON values become JSON"),
        }
    }

    /// How long the task may still take.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// When the plugin is stopped, whatever it does.
    pub(crate) fn end(&self) -> Instant {
        self.deadline + GRACE
    }

    /// Adds a call of the plugin to the task's trace.
    pub(crate) fn trace_call(&mut self, call: Arguments<'_>) {
        self.trace.line(call);
    }

    /// An input of the task by its name; a digest of no input stays as the plugin has it.
    pub(crate) fn input_name(&self, digest: &str) -> String {
        let input = self
            .work
            .inputs
            .iter()
            .find(|input| input.digest.to_string() == digest);
        input.map_or_else(|| digest.to_owned(), |input| input.name.clone())
    }

    /// Remembers what failed, if its sandbox shall be held.
    pub(crate) fn note_failure(&mut self, run: FailedRun) {
        if self.work.hold_s.is_some() {
            self.last_failure = Some(LastFailure { run, root: None });
        }
    }

    /// The plugin is done with a root: it goes, unless something failed in it.
    pub(crate) fn let_go_of_root(&mut self, number: u32, root: Root) {
        match &mut self.last_failure {
            Some(last) if last.run.root == number && last.root.is_none() => last.root = Some(root),
            _ => drop(root),
        }
    }

    /// The sandbox in which a command failed, with what runs that again; `folder` is around the task's own.
    pub(crate) fn take_failed_sandbox(&mut self, folder: &Path) -> Option<FailedSandbox> {
        let LastFailure { run, root } = self.last_failure.take()?;
        let root = match root {
            Some(root) => root,
            None => {
                self.table
                    .delete(Resource::<TaskRoot>::new_own(run.root))
                    .ok()?
                    .root
            }
        };
        run.write_script(&self.folder);
        let hold_s = self.work.hold_s.unwrap_or_default().min(HOLD_S_MAX);
        Some(FailedSandbox {
            root,
            run,
            folder: folder.to_owned(),
            work: self.folder.path().to_owned(),
            lease: self.lease.clone(),
            options: self.work.sandbox,
            hold: Duration::from_secs(hold_s.into()),
        })
    }

    /// What was handed over, in that order, and what was in its roots, if it had some.
    pub fn into_results(self) -> (Vec<Artifact>, Option<TaskRoots>) {
        let arch = self.work.arch.unwrap_or(self.services.arch);
        let roots = TaskRoots {
            task: self.lease.task,
            arch,
            roots: self.had,
        };
        (self.published, (!roots.roots.is_empty()).then_some(roots))
    }
}
