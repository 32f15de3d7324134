//! What people and programs do to a line, and who is refused.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod builds;
mod packages;
mod runners;
