//! Which repositories a platform has, and which of them a package belongs in.

use crate::Arch;
use crate::rpm::{Kind, Rpm};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which repository of a platform: `x86_64/os`, `aarch64/debug`, `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RepositoryId {
    /// What is in it.
    pub kind: Kind,
    /// For which architecture; none for sources.
    pub arch: Option<Arch>,
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arch {
            Some(arch) => write!(f, "{arch}/{}", self.kind.as_str()),
            None => f.write_str(self.kind.as_str()),
        }
    }
}

/// The repositories of a platform with these architectures.
pub fn repositories_of(architectures: &[Arch]) -> Vec<RepositoryId> {
    let each = |arch: &Arch| {
        [Kind::Os, Kind::Debug].map(|kind| RepositoryId {
            kind,
            arch: Some(*arch),
        })
    };
    let mut all: Vec<RepositoryId> = architectures.iter().flat_map(each).collect();
    all.push(RepositoryId {
        kind: Kind::Source,
        arch: None,
    });
    all
}

/// Whether a package belongs in a repository: by kind, and by architecture unless it is noarch. Packages of 32 bits lie in the
/// repository of the 64-bit architecture that runs them, as on Enterprise Linux.
pub(crate) fn belongs(rpm: &Rpm, repository: RepositoryId) -> bool {
    let for_it = |arch: Arch| {
        rpm.is_noarch() || rpm.arch == arch.as_str() || Some(rpm.arch.as_str()) == arch.multilib()
    };
    rpm.kind() == repository.kind && repository.arch.is_none_or(for_it)
}
