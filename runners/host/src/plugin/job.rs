//! One task while a plugin works on it: everything that its imports reach, and nothing else.

use crate::hold::Noted;
use crate::line::log::TaskLog;
use crate::line::stop::Stop;
use crate::plugin::bindings;
use crate::plugin::capability::Grants;
use crate::plugin::engine::MemoryLimiter;
use crate::plugin::folder::Folder;
use crate::plugin::imports;
use crate::plugin::machine::Machine;
use crate::plugin::trace::Trace;
use crate::plugin::wasi;
use millrace_core::protocol::{Holding, Work};
use millrace_core::roots::{Lock, Root, TaskRoots};
use millrace_core::task::Artifact;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::ResourceTable;

/// A task's state.
pub struct Job {
    pub(crate) table: ResourceTable,
    pub(crate) wasi: wasi::State,
    pub(crate) memory: MemoryLimiter,
    pub(crate) grants: Grants,
    pub(crate) folder: Folder,
    pub(crate) log: Arc<TaskLog>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) work: Work,
    pub(crate) holding: Holding,
    pub(crate) published: Vec<Artifact>,
    pub(crate) trace: Trace,
    /// What failed last, where the sandbox is wanted for that.
    pub(crate) noted: Option<Noted>,
    /// How many roots it has.
    pub(crate) roots: usize,
    /// What was in those that it has had.
    pub(crate) had: Vec<Root>,
    /// What its roots are to have.
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
        holding: Holding,
        folder: &Path,
        log: Arc<TaskLog>,
        stop: Arc<Stop>,
        machine: Arc<Machine>,
    ) -> io::Result<Self> {
        let name = format!("{}-{}-{}", holding.build, holding.task, holding.lease);
        Ok(Self {
            trace: Trace::begin(machine.traces.as_deref(), &name)?,
            table: ResourceTable::new(),
            wasi: wasi::State::new(work.source_date_epoch_s),
            memory: MemoryLimiter::default(),
            grants: Grants::new(&work.inputs),
            folder: Folder::open(folder, work.sandbox.limits.disk_bytes)?,
            log,
            stop,
            machine,
            holding,
            published: Vec::new(),
            noted: None,
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
            arch: work.arch.unwrap_or(self.machine.arch).to_string(),
            platform: work.platform.to_string(),
            macros: work
                .macros
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            source_date_epoch: work.source_date_epoch_s,
            inputs: work.inputs.iter().map(imports::artifact).collect(),
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

    /// What was handed over, in that order, and what was in its roots, if it had some.
    pub fn into_results(self) -> (Vec<Artifact>, Option<TaskRoots>) {
        let arch = self.work.arch.unwrap_or(self.machine.arch);
        let roots = TaskRoots {
            task: self.holding.task,
            arch,
            roots: self.had,
        };
        (self.published, (!roots.roots.is_empty()).then_some(roots))
    }
}
