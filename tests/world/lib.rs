//! A small world for stories: a platform, pushes and runners that do as they are told, and a clock that moves when told.
#![allow(clippy::unwrap_used, reason = "tests end where something is not as it should be")]

pub mod line;
pub mod up;
