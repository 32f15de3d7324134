//! Plans builds, and keeps the lease desk that runners talk to; a tick does what time alone decides.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod desk;
mod plan;
mod runners;
mod tick;
mod trouble;

pub use desk::{Desk, router};
pub use plan::{PlanFailure, Registered, plan};
pub use runners::{Runner, RunnerError, Token, add_runner, remove_runner};
pub use tick::tick;
