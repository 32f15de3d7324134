//! Which tasks may run, and what they are given.

use super::model::{Build, Stage};
use crate::Arch;
use crate::platform::Step;
use crate::task::{Artifact, Task, TaskId, TaskState};
use std::collections::BTreeMap;

impl Build {
    /// Tasks that a runner may take now.
    pub fn ready(&self) -> impl Iterator<Item = &TaskId> {
        let running = matches!(self.stage, Stage::Running);
        let waiting = move |task: &&Task| running && matches!(task.state, TaskState::Waiting);
        self.tasks
            .iter()
            .filter(waiting)
            .filter(|task| self.needs_are_good(task))
            .map(|task| &task.id)
    }

    fn needs_are_good(&self, task: &Task) -> bool {
        self.step_of(&task.id).is_some_and(|step| {
            step.needs.iter().all(|need| {
                self.providers(need.as_str(), task.id.arch)
                    .all(Task::is_good)
            })
        })
    }

    /// The tasks of a step that a task on an architecture waits for: the one on the same architecture. It waits for all of them if that one
    /// was taken out (a noarch package is built elsewhere), or if the task is done once.
    fn providers<'a>(
        &'a self,
        step: &'a str,
        arch: Option<Arch>,
    ) -> impl Iterator<Item = &'a Task> {
        let of_step = move |task: &&Task| task.id.step.as_str() == step;
        let own = self
            .tasks
            .iter()
            .filter(of_step)
            .find(|task| task.id.arch.is_some() && task.id.arch == arch);
        let alone = own
            .filter(|task| !matches!(task.state, TaskState::Excluded { .. }))
            .map(|task| &task.id);
        self.tasks
            .iter()
            .filter(of_step)
            .filter(move |task| alone.is_none_or(|id| task.id == *id))
    }

    /// Why a step has nothing to do: something that it needs was taken out everywhere.
    pub(super) fn needs_nothing_left(&self, step: &Step) -> Option<String> {
        step.needs.iter().find_map(|need| {
            let mut tasks = self.tasks.iter().filter(|task| task.id.step == *need);
            let all_out = tasks.all(|task| matches!(task.state, TaskState::Excluded { .. }));
            all_out.then(|| format!("{need} had nothing to do"))
        })
    }

    /// The files that a task is given: the commit's tree always, and the package's sources if its step needs no other. Otherwise it gets
    /// what the steps that it needs handed over, on its architecture or, if that was taken out, the noarch packages of others.
    pub fn inputs(&self, id: &TaskId) -> Vec<Artifact> {
        let mut inputs: BTreeMap<String, Artifact> = BTreeMap::new();
        let Some(step) = self.step_of(id) else {
            return Vec::new();
        };
        if step.needs.is_empty() {
            let artifact = |source: &crate::sources::SourceFile| Artifact {
                name: source.path.clone(),
                digest: source.digest,
                size: source.size,
                rpm: None,
            };
            inputs.extend(
                self.push
                    .sources
                    .iter()
                    .map(|source| (source.path.clone(), artifact(source))),
            );
        }
        for need in &step.needs {
            for task in self.providers(need.as_str(), id.arch) {
                let fits = |artifact: &&Artifact| {
                    task.id.arch.is_none()
                        || task.id.arch == id.arch
                        || id.arch.is_none()
                        || is_noarch(artifact)
                };
                for artifact in task.artifacts().iter().filter(fits) {
                    inputs
                        .entry(artifact.name.clone())
                        .or_insert_with(|| artifact.clone());
                }
            }
        }
        [self.tree()]
            .into_iter()
            .chain(inputs.into_values())
            .collect()
    }
}

fn is_noarch(artifact: &Artifact) -> bool {
    artifact
        .rpm
        .as_ref()
        .is_some_and(crate::rpm::Rpm::is_noarch)
}
