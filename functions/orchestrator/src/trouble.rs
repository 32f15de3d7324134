//! A build that cannot be read or saved: it is reported once, for the line's operator, and passed over, so that all others get on.

use millrace_core::BuildId;
use millrace_store::{AdvanceError, SaveError, StateError, chain};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tracing::error;

/// Builds whose trouble is remembered as reported. Past that, all of them are reported once more, so that a desk that runs for years
/// remembers little.
const REPORTED_MAX: usize = 1000;

static REPORTED: Mutex<ReportedBuilds> = Mutex::new(ReportedBuilds(BTreeSet::new()));

#[derive(Debug)]
struct ReportedBuilds(BTreeSet<BuildId>);

impl ReportedBuilds {
    fn is_new(&mut self, build: &BuildId) -> bool {
        if self.0.len() >= REPORTED_MAX {
            self.0.clear();
        }
        self.0.insert(build.clone())
    }
}

/// What did not happen to a build among others: its own trouble is reported and done with; only a store that does not answer stands
/// in the way of the others too. Answers whether there was trouble, as rules that say no are none.
pub(crate) fn pass_over(build: &BuildId, error: AdvanceError) -> Result<bool, AdvanceError> {
    match &error {
        AdvanceError::Refused(_) | AdvanceError::Unknown(_) => Ok(false),
        AdvanceError::Save(SaveError::State(StateError::Unavailable(_))) => Err(error),
        AdvanceError::Save(
            SaveError::Conflict(_)
            | SaveError::TooLarge { .. }
            | SaveError::State(StateError::Corrupt { .. } | StateError::Unfit(_)),
        ) => {
            if REPORTED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_new(build)
            {
                error!(%build, problem = chain(&error), "a build is passed over until somebody looks at it");
            }
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trouble_of_a_build_is_said_once() {
        let (mut said, build) = (ReportedBuilds(BTreeSet::new()), |n: usize| {
            BuildId::new(&format!("b{n}")).unwrap()
        });
        assert!(said.is_new(&build(0)));
        assert!(!said.is_new(&build(0)));
        assert!(said.is_new(&build(1)), "another one is another trouble");
        for n in 2..REPORTED_MAX {
            said.is_new(&build(n));
        }
        assert!(said.is_new(&build(0)), "what is remembered is bounded");
    }
}
