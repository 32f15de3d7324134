//! When the tasks of a build are done, and what follows from them all.

use super::model::{Build, End, Stage};
use crate::Timestamp;
use crate::order::{Effect, SignOrder};
use crate::platform::StepScope;
use crate::rpm::Rpm;
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

    /// The header of the source package that a step handed over.
    fn source_package(&self) -> Option<&Rpm> {
        self.tasks
            .iter()
            .flat_map(Task::artifacts)
            .filter_map(|artifact| artifact.rpm.as_ref())
            .find(|rpm| rpm.is_source())
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
        self.stage = Stage::Signing { order: order.id };
        vec![Effect::Sign(order)]
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
