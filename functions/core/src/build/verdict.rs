//! What the outcome of a task means for it.

use crate::sources::TREE_ARTIFACT;
use crate::task::{ARTIFACTS_MAX, Artifact, Blame, Failure, Outcome, TaskState, cut};
use std::collections::BTreeSet;

/// What an outcome means for its task.
pub(super) enum Verdict {
    /// The task is done with.
    Settled(TaskState),
    /// Passing trouble, in these words.
    Trouble(String),
    /// The runner leaves, for this reason; the task is none the worse.
    HandedBack(String),
}

pub(super) fn judge(outcome: Outcome) -> Verdict {
    let settled = |failure| Verdict::Settled(TaskState::Failed { failure });
    let failed = |blame, reason: &str| settled(Failure::new(blame, cut(reason)));
    match outcome {
        Outcome::Passed { summary, artifacts } => match fault_of(&artifacts) {
            Some((blame, fault)) => failed(blame, &fault),
            None => Verdict::Settled(TaskState::Passed {
                summary: cut(&summary),
                artifacts,
            }),
        },
        Outcome::Excluded { reason } => Verdict::Settled(TaskState::Excluded {
            reason: cut(&reason),
        }),
        Outcome::HandedBack { reason } => Verdict::HandedBack(cut(&reason)),
        Outcome::Failed(Failure {
            blame: Blame::Environment,
            reason,
            ..
        }) => Verdict::Trouble(cut(&reason)),
        Outcome::Failed(failure) => settled(Failure {
            reason: cut(&failure.reason),
            ..failure
        }),
    }
}

/// What is wrong with what a task hands over, and who must act: the names are those that the next task and the repositories go by.
fn fault_of(artifacts: &[Artifact]) -> Option<(Blame, String)> {
    if artifacts.len() > ARTIFACTS_MAX {
        let fault = format!(
            "{} artifacts; a task may hand over {ARTIFACTS_MAX}",
            artifacts.len()
        );
        return Some((Blame::Package, fault));
    }
    let mut names = BTreeSet::from([TREE_ARTIFACT]);
    let odd = |name: &str| name.contains('/') || !crate::sources::is_inside(name);
    let wrong = artifacts
        .iter()
        .find(|artifact| odd(&artifact.name) || !names.insert(&artifact.name))?;
    Some((
        Blame::Plugin,
        format!(
            "an artifact called `{}`: each must have a plain file name of its own",
            wrong.name
        ),
    ))
}
