//! What the outcome of a task means for it.

use crate::Arch;
use crate::rpm::Rpm;
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

/// Which packages a task may hand over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepts {
    /// The task's architecture; none if it is done once.
    pub arch: Option<Arch>,
    /// Whether packages of 32 bits may come with those of an architecture that runs them.
    pub multilib: bool,
}

impl Accepts {
    /// Whether a package of this architecture may come from the task. One that is done once has no architecture's packages to give, and one
    /// of an architecture no source package: that is what it was made from.
    fn takes(self, rpm: &Rpm) -> bool {
        let Some(arch) = self.arch else {
            return rpm.is_source() || rpm.is_noarch();
        };
        let is_multilib = self.multilib && Some(rpm.arch.as_str()) == arch.multilib();
        rpm.is_noarch() || rpm.arch == arch.as_str() || is_multilib
    }

    fn words(self) -> String {
        match self.arch {
            None => "source packages and noarch ones, since it is done once".to_owned(),
            Some(arch) => match arch.multilib().filter(|_| self.multilib) {
                Some(multilib) => format!("packages for {arch}, {multilib} and noarch"),
                None => format!("packages for {arch} and noarch"),
            },
        }
    }
}

pub(super) fn judge(outcome: Outcome, accepts: Accepts) -> Verdict {
    let settled = |failure| Verdict::Settled(TaskState::Failed { failure });
    let failed = |blame, reason: &str| settled(Failure::new(blame, cut(reason)));
    match outcome {
        Outcome::Passed { summary, artifacts } => match fault_of(&artifacts, accepts) {
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
fn fault_of(artifacts: &[Artifact], accepts: Accepts) -> Option<(Blame, String)> {
    if artifacts.len() > ARTIFACTS_MAX {
        let fault = format!(
            "{} artifacts; a task may hand over {ARTIFACTS_MAX}",
            artifacts.len()
        );
        return Some((Blame::Package, fault));
    }
    let foreign = artifacts
        .iter()
        .filter_map(|artifact| artifact.rpm.as_ref())
        .find(|rpm| !accepts.takes(rpm));
    if let Some(rpm) = foreign {
        let fault = format!(
            "it hands over {rpm}; this task may hand over {}",
            accepts.words()
        );
        return Some((Blame::Plugin, fault));
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
