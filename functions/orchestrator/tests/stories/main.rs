//! Stories of runners who speak with the desk, and of pushes that become builds, told over the real routes and a store in memory.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod answers;
mod files;
mod holds;
mod leases;
mod logs;
mod planning;
mod queue;
mod trouble;
mod world;
