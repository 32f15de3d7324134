//! Puts signed packages into dnf repositories, all of a build at once, and serves them.
//!
//! What a platform has released is a [`Generation`]: one document that names every file of every repository by its digest.
//! It never changes; a release makes the next one, and swaps one small pointer to it. So whoever reads a repository sees all of a
//! release or nothing of it, and an earlier state is one pointer away.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod deliver;
mod generation;
mod history;
#[cfg(feature = "lambda")]
pub mod lambda;
mod package;
mod publish;
mod repodata;
mod root;
mod serve;
mod shelf;

pub use deliver::OrderReleaser;
pub use generation::{Entry, FileRef, Generation, Repository};
pub use history::{Past, history};
pub use publish::{
    Changed, ReleaseError, Seal, SealError, give_up, prepare, publish, release, rollback, withdraw,
};
pub use root::{Released, current};
pub use serve::router;

#[cfg(test)]
mod tests;
