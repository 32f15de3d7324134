//! Whose name it is: which package may release which names on a target, and who must say yes where they are somebody else's.
//!
//! A name becomes a package's own when it first releases it, if nobody else has it there: neither another package of the line nor a
//! package of the platform's repositories that was built from another source. From then on nobody else may release it, obsolete it or
//! provide it, unless an operator grants that.

mod claim;
mod facts;
mod judge;
mod name;
mod repositories;

pub use claim::{Claim, Grant};
pub use facts::{NAMES_MAX, PackageFacts, source_name};
pub use judge::{ForeignName, Holder, Judged, Owner, Standing, Usage, judge};
pub use name::{NAME_BYTES_MAX, OwnedName, OwnedNameError, ReleaseTarget, canonical_path};
pub use repositories::{
    REPOSITORY_NAMES_BYTES_MAX, REPOSITORY_NAMES_MAX, RepositoryNames, TooManyNames,
    repositories_digest,
};
