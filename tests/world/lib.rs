//! A small world for stories: a forge, the line's own functions over stores in memory, runners that do as they are told, and a
//! clock that moves when told.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

pub mod flight;
mod folder;
pub mod forge;
pub mod line;
pub mod packages;
pub mod runner;
pub mod sandbox;
pub mod up;
pub mod wait;
pub mod world;
