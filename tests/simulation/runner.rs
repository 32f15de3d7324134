//! A runner that does what real ones do at their best and at their worst.

use crate::packages::package;
use millrace_core::protocol::{Holding, Offer};
use millrace_core::task::{Artifact, Blame, Failure, Outcome};

/// A runner, and the work that it has.
#[derive(Debug, Clone)]
pub struct Runner {
    /// Its name.
    pub name: String,
    /// Its token.
    pub token: String,
    /// What it works on.
    pub work: Option<Offer>,
    /// What came of it, once that is known: an answer whose receipt was lost is told again, and not thought over.
    pub answer: Option<Outcome>,
}

impl Runner {
    /// The work is done, or lost.
    pub fn forget(&mut self) {
        self.work = None;
        self.answer = None;
    }

    /// Under which lease it works.
    pub fn holding(&self) -> Option<Holding> {
        let offer = self.work.as_ref()?;
        Some(Holding { build: offer.work.build.clone(), task: offer.work.task.clone(), lease: offer.lease.number })
    }
}

/// What the step of a task hands over; the release number follows from the commit, so that each push has packages of its own.
pub fn results(offer: &Offer) -> Vec<(Artifact, Vec<u8>)> {
    let work = &offer.work;
    let release = u64::from_str_radix(&work.commit.as_str()[24..], 16).unwrap();
    let name = work.package.as_str();
    match (work.task.step.as_str(), work.task.arch) {
        ("source", _) => vec![package(name, release, "src")],
        ("rpm", Some(arch)) => {
            let devel = format!("{name}-devel");
            vec![
                package(name, release, arch.as_str()),
                package(&devel, release, arch.as_str()),
                package(&format!("{name}-doc"), release, "noarch"),
            ]
        }
        _ => Vec::new(),
    }
}

/// The answer that goes with them, or one of the other answers there are.
pub fn outcome(chance: &mut fastrand::Rng, calm: bool, artifacts: Vec<Artifact>) -> Outcome {
    let trouble = |blame| Outcome::Failed(Failure { blame, reason: "made up".to_owned() });
    match chance.u8(0..20) {
        0 if !calm => trouble(Blame::Package),
        1 if !calm => trouble(Blame::Environment),
        _ => Outcome::Passed { summary: String::new(), artifacts },
    }
}
