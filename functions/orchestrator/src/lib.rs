//! Plans builds, and keeps the lease desk that runners talk to; a tick does what time alone decides.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod deliver;
#[cfg(feature = "lambda")]
mod demand;
mod desk;
#[cfg(feature = "lambda")]
mod groups;
#[cfg(feature = "lambda")]
pub mod lambda;
mod plan;
mod released;
mod tick;
mod trouble;

pub use deliver::{Planner, RunnerPool};
pub use desk::{Desk, Paces, router};
pub use plan::{PlanFailure, give_up, plan};
pub use released::released_repository;
pub use tick::{clock_set_back, tick};
