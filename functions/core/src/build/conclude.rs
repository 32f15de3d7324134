//! When the tasks of a build are done, and what follows from them all.

use super::model::{Build, End, Stage};
use crate::Timestamp;
use crate::order::{Effect, OrderedFile, SignOrder};
use crate::platform::StepScope;
use crate::task::{Task, TaskState, cut};

impl Build {
    /// Takes tasks out that have nothing to do: architectures that the source package excludes, further architectures of a
    /// noarch package, and steps whose needs were all taken out.
    pub(super) fn exclude_what_has_nothing_to_do(&mut self) {
        loop {
            let next = self.tasks.iter().position(|task| {
                matches!(task.state, TaskState::Waiting) && self.nothing_to_do(task).is_some()
            });
            let Some(at) = next else { return };
            let Some(reason) = self.nothing_to_do(&self.tasks[at]) else {
                return;
            };
            self.tasks[at].state = TaskState::Excluded { reason };
        }
    }

    /// Why a task has nothing to do, once the source package is known.
    fn nothing_to_do(&self, task: &Task) -> Option<String> {
        let step = self.step_of(&task.id)?;
        if let Some(reason) = self.needs_nothing_left(step) {
            return Some(reason);
        }
        let (arch, source) = (task.id.arch?, self.source_package()?);
        if let Err(reason) = source.builds_on(arch) {
            return Some(reason);
        }
        let first = self
            .platform
            .architectures
            .iter()
            .find(|arch| source.builds_on(**arch).is_ok())?;
        (step.on == StepScope::BuildArch && source.builds_noarch() && *first != arch)
            .then(|| format!("noarch: built once, on {first}"))
    }

    /// Whether the tasks have a result: all good, or nothing left that could run.
    pub(super) fn conclude(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.tasks.iter().all(Task::is_good) {
            return self.all_good(now);
        }
        let goes_on = |task: &Task| {
            matches!(
                task.state,
                TaskState::Leased { .. } | TaskState::Paused { .. }
            )
        };
        if self.tasks.iter().any(goes_on) || self.ready().next().is_some() {
            return Vec::new();
        }
        let reasons: Vec<String> = self.tasks.iter().filter_map(Task::trouble).collect();
        self.end(
            End::Failed {
                reason: cut(&reasons.join("\n")),
            },
            now,
        )
    }

    fn all_good(&mut self, now: Timestamp) -> Vec<Effect> {
        let on_arch = |task: &&Task| task.id.arch.is_some();
        let excluded = |task: &Task| matches!(task.state, TaskState::Excluded { .. });
        if self.tasks.iter().any(|task| on_arch(&task))
            && self.tasks.iter().filter(on_arch).all(excluded)
        {
            let reason = self
                .tasks
                .iter()
                .filter(on_arch)
                .find_map(Task::reason)
                .unwrap_or_default();
            let reason = format!(
                "no architecture of platform {} builds it ({reason})",
                self.platform.name
            );
            return self.end(End::Excluded { reason }, now);
        }
        let order = SignOrder::new(
            self.id.clone(),
            self.platform.key.clone(),
            self.stamp_s(),
            self.releasable(),
        );
        if order.files.is_empty() {
            return self.end(End::Passed, now);
        }
        if let Some(homeless) = order
            .files
            .iter()
            .find(|file| !self.platform.has_repository_for(&file.rpm))
        {
            let (file, platform) = (&homeless.name, &self.platform.name);
            let reason = format!(
                "{file} is for {}, which platform {platform} has no repository for",
                homeless.rpm.arch
            );
            return self.end(
                End::Failed {
                    reason: cut(&reason),
                },
                now,
            );
        }
        if let Some(reason) = self.untested(&order.files) {
            let reason = cut(&reason);
            return self.end(End::Failed { reason }, now);
        }
        self.stage = Stage::Signing { order: order.id };
        vec![Effect::Sign(order)]
    }
}

impl Build {
    /// Why something that would be signed is not what the tests of the step that made it were given on its architecture, if that is so:
    /// another step that they need hands over a file of the same name.
    fn untested(&self, files: &[OrderedFile]) -> Option<String> {
        let passed = |task: &&Task| matches!(task.state, TaskState::Passed { .. });
        for made in self.tasks.iter().filter(passed) {
            let is_test_of_it = |task: &&Task| {
                let step = self.step_of(&task.id);
                task.id.arch == made.id.arch
                    && step.is_some_and(|step| !step.releases && step.needs.contains(&made.id.step))
            };
            for test in self.tasks.iter().filter(passed).filter(is_test_of_it) {
                let given = self.inputs(&test.id);
                let is_other = |file: &&OrderedFile| {
                    made.artifacts()
                        .iter()
                        .any(|artifact| artifact.digest == file.digest)
                        && !given.iter().any(|given| given.digest == file.digest)
                };
                if let Some(file) = files.iter().find(is_other) {
                    return Some(format!(
                        "{} of {} is not what {} was given: another step that it needs hands over a file of the same name",
                        file.name, made.id, test.id
                    ));
                }
            }
        }
        None
    }
}

impl Task {
    /// What is wrong with it, with its name, if something is.
    fn trouble(&self) -> Option<String> {
        match &self.state {
            TaskState::Failed { failure } => Some(format!("{}: {}", self.id, failure.reason)),
            TaskState::Quarantined { reason } => Some(format!("{}: {reason}", self.id)),
            TaskState::Waiting
            | TaskState::Paused { .. }
            | TaskState::Leased { .. }
            | TaskState::Passed { .. }
            | TaskState::Excluded { .. }
            | TaskState::Dropped => None,
        }
    }
}
