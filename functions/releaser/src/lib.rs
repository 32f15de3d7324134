//! Puts signed packages into dnf repositories, all of a build at once, and serves them.
//!
//! What a platform has released is a [`Generation`]: one document that names every file of every repository by its digest.
//! It never changes; a release makes the next one, and swaps one small pointer to it. So the reader of a repository sees all of a
//! release or nothing of it, and an earlier state is one pointer away.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod change;
mod deliver;
mod error;
mod generation;
mod inventory;
#[cfg(feature = "lambda")]
pub mod lambda;
mod metadata;
mod order;
mod platform;
mod removal;
mod seal;
mod serve;

pub use deliver::OrderReleaser;
pub use error::{Corruption, PackageProblem, ReleaseError, ReleaseRefusal};
pub use generation::file::FileRef;
pub use generation::history::{GenerationSummary, history};
pub use generation::manifest::{FileNameTaken, Generation, PackageEntry, Repository};
pub use generation::root::{GenerationRef, current};
pub use inventory::claim_released;
pub use order::{give_up, publish, release, withdraw};
pub use platform::{RollbackOutcome, prepare, rollback};
pub use removal::{Removed, remove};
pub use seal::{Seal, SealError};
pub use serve::router;

#[cfg(test)]
mod tests;
