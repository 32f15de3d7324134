//! Stories of people and programs who look at the line.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod api;
mod build;
mod every_page;
mod files;
mod lists;
mod log;
mod packages;
mod push;
mod queue;
mod visit;
