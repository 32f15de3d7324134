//! Says which protections and needs of a runner this machine gives, in words: by building a sandbox and looking around in it.
//!
//! `observe` tries, `judge` says what follows. A runner asks the same when it starts, and refuses to if something that matters is missing.

mod finding;
mod judge;
mod observe;

pub use finding::{Candidate, Finding, Verdict, refusal};
pub(crate) use judge::FREE_BYTES_MIN;

/// Everything that there is to say of this machine. Takes some tenths of a second, and as long as the line takes to answer.
pub fn examine(candidate: &Candidate<'_>) -> Vec<Finding> {
    judge::judge(&observe::observe(candidate))
}
