//! `buildroot`: roots of the platform.

use super::trouble;
use crate::buildroot::{InstalledPackage, Recipe, Root, RootError, RootSession};
use crate::plugin::bindings::buildroot::{Error, Host, HostRoot, Installed, Kind};
use crate::plugin::capability;
use crate::plugin::end::Interrupt;
use crate::plugin::job::Job;
use crate::plugin::task_root::TaskRoot;
use millrace_core::Arch;
use millrace_core::roots::{Lock, RootKind};
use millrace_core::task::TaskId;
use wasmtime::component::Resource;

/// Most roots that a task has at once: one to build or try in, one to compare with, and room for an idea.
const ROOTS_MAX: usize = 4;

type HostResult<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Job {}

impl HostRoot for Job {
    fn create(&mut self, kind: Kind, packages: Vec<String>) -> HostResult<Resource<TaskRoot>> {
        self.trace_call(format_args!("buildroot.create {kind:?} {packages:?}"));
        if self.roots >= ROOTS_MAX {
            return Ok(Err(Error::Refused(format!(
                "a task may have {ROOTS_MAX} roots at once"
            ))));
        }
        if let Err(error) = check(&packages) {
            return Ok(Err(error));
        }
        let kind = match kind {
            Kind::Build => RootKind::Build,
            Kind::Minimal => RootKind::Minimal,
        };
        let mut recipe = Recipe::of(&self.work, self.services.arch);
        if let Some(lock) = &self.lock {
            let number = self.had.iter().filter(|root| root.kind == kind).count();
            let (task, arch) = (&self.lease.task, recipe.arch);
            match lock.root(task, arch, kind, number) {
                Some(root) => recipe.locked = Some(root.clone()),
                None => return Ok(Err(Error::Refused(no_root(lock, task, arch, kind, number)))),
            }
        }
        let made = self.with_session(|job, session| {
            job.services
                .buildroots
                .create(&recipe, kind, &packages, session)
        })?;
        Ok(match made {
            Ok(root) => {
                self.roots += 1;
                self.had.push(root.record().clone());
                Ok(self.table.push(TaskRoot {
                    root,
                    number: self.had.len() - 1,
                })?)
            }
            Err(error) => Err(error),
        })
    }

    fn install(&mut self, root: Resource<TaskRoot>, packages: Vec<String>) -> HostResult<()> {
        self.trace_call(format_args!("buildroot.install {packages:?}"));
        if let Err(error) = check(&packages) {
            return Ok(Err(error));
        }
        self.in_root(root, |root, session| root.install(&packages, session))
    }

    fn remove(&mut self, root: Resource<TaskRoot>, packages: Vec<String>) -> HostResult<()> {
        self.trace_call(format_args!("buildroot.remove {packages:?}"));
        if let Err(error) = check(&packages) {
            return Ok(Err(error));
        }
        self.in_root(root, |root, session| root.remove(&packages, session))
    }

    fn contents(&mut self, root: Resource<TaskRoot>) -> HostResult<Vec<Installed>> {
        self.trace_call(format_args!("buildroot.contents"));
        let installed = |package: InstalledPackage| Installed {
            nevra: package.nevra,
            name: package.name,
            repository: package.repository,
        };
        let contents = self.in_root(root, |root, session| root.contents(session))?;
        Ok(contents.map(|list| list.into_iter().map(installed).collect()))
    }

    fn drop(&mut self, root: Resource<TaskRoot>) -> wasmtime::Result<()> {
        self.trace_call(format_args!("buildroot.drop"));
        let number = root.rep();
        let TaskRoot { root, .. } = self.table.delete(root)?;
        self.roots -= 1;
        self.let_go_of_root(number, root);
        Ok(())
    }
}

/// What a lock lacks, in words for who has given it.
fn no_root(lock: &Lock, task: &TaskId, arch: Arch, kind: RootKind, number: usize) -> String {
    let kind = match kind {
        RootKind::Build => "to build in",
        RootKind::Minimal => "to try in",
    };
    let (number, build) = (number + 1, &lock.build);
    format!(
        "the lock of build {build} has no root number {number} {kind} for task {task} on {arch}: it is of another build, or task"
    )
}

fn check(texts: &[String]) -> Result<(), Error> {
    capability::check_packages(texts).map_err(|refusal| Error::Refused(refusal.to_string()))
}

impl Job {
    /// Does something to a root, which is out of the table meanwhile.
    fn in_root<T>(
        &mut self,
        root: Resource<TaskRoot>,
        work: impl FnOnce(&mut Root, &mut RootSession<'_>) -> Result<T, RootError>,
    ) -> HostResult<T> {
        let (log, stop) = (self.log.clone(), self.stop.clone()); // the table is borrowed below
        let (limits, time_left, folder) = (
            self.work.sandbox.limits,
            self.time_left(),
            self.folder.path().to_owned(),
        );
        let mut output = |bytes: &[u8]| log.bytes(bytes);
        let mut session = RootSession {
            work: &folder,
            limits,
            time_left,
            cancelled: stop.flag(),
            output: &mut output,
        };
        let TaskRoot { root, number } = self.table.get_mut(&root)?;
        let done = work(root, &mut session);
        self.had[*number] = root.record().clone();
        self.folder.changed();
        self.sorted(done)
    }

    fn with_session<T>(
        &self,
        work: impl FnOnce(&Self, &mut RootSession<'_>) -> Result<T, RootError>,
    ) -> HostResult<T> {
        let mut output = |bytes: &[u8]| self.log.bytes(bytes);
        let (limits, time_left) = (self.work.sandbox.limits, self.time_left());
        let mut session = RootSession {
            work: self.folder.path(),
            limits,
            time_left,
            cancelled: self.stop.flag(),
            output: &mut output,
        };
        let done = work(self, &mut session);
        self.folder.changed();
        self.sorted(done)
    }

    /// Tells what the plugin can do something about from trouble of the machine.
    fn sorted<T>(&self, result: Result<T, RootError>) -> HostResult<T> {
        Ok(Err(match result {
            Ok(value) => return Ok(Ok(value)),
            Err(RootError::Unresolved(problems)) => Error::Unresolved(problems),
            Err(RootError::Repository(problem)) => Error::Repository(problem.to_string()),
            Err(RootError::Transaction(problem)) => Error::Transaction(problem),
            Err(RootError::Refused(problem)) => Error::Refused(problem),
            Err(error @ RootError::UnreadablePackage { .. }) => Error::Refused(error.to_string()),
            Err(RootError::Stopped) if self.stop.is_raised() => {
                return Err(wasmtime::Error::new(Interrupt::Stopped));
            }
            Err(RootError::Stopped) => return Err(wasmtime::Error::new(Interrupt::TimedOut)),
            Err(error @ (RootError::Sandbox(_) | RootError::Io(_))) => return Err(trouble(error)),
        }))
    }
}
