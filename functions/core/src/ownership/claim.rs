//! Who has a name on a target, as a record keeps it.

use super::name::{OwnedName, ReleaseTarget};
use crate::access::Actor;
use crate::{BuildId, PackageName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one name on one target: whose it is, and who else may use it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub target: ReleaseTarget,
    pub name: OwnedName,
    /// Whose it is; none if it was granted before the line released it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owned>,
    /// Who else may release, obsolete and provide it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grants: BTreeMap<PackageName, Grant>,
}

/// Whose a name is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    pub package: PackageName,
    /// The build that released it first, as far as the line knows.
    pub build: BuildId,
    pub since: Timestamp,
}

/// The word of an operator that a package may use another's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub by: Actor,
    pub at: Timestamp,
}

impl Claim {
    /// A name that nobody has yet.
    pub const fn free(target: ReleaseTarget, name: OwnedName) -> Self {
        Self {
            target,
            name,
            owner: None,
            grants: BTreeMap::new(),
        }
    }

    /// The id of its record.
    pub fn id(&self) -> String {
        self.name.id(&self.target)
    }

    /// Gives it to a package if nobody has it; false if somebody does.
    pub fn take(&mut self, package: &PackageName, build: &BuildId, since: Timestamp) -> bool {
        if self.owner.is_some() {
            return false;
        }
        self.owner = Some(Owned {
            package: package.clone(),
            build: build.clone(),
            since,
        });
        true
    }

    /// Makes it nobody's if it belongs to one of these.
    pub fn forget_owner_of(&mut self, packages: &BTreeSet<PackageName>) {
        let is_theirs = |owned: &Owned| packages.contains(&owned.package);
        if self.owner.as_ref().is_some_and(is_theirs) {
            self.owner = None;
        }
    }

    /// Whether a package may use it, because it is its own or was granted.
    pub fn admits(&self, package: &PackageName) -> bool {
        self.is_of(package) || self.grants.contains_key(package)
    }

    /// Whether it is this package's own.
    pub fn is_of(&self, package: &PackageName) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owned| owned.package == *package)
    }

    /// Whether nothing is known of it any more, so that its record can go.
    pub fn is_empty(&self) -> bool {
        self.owner.is_none() && self.grants.is_empty()
    }
}
