//! What the line does, as stories.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod artifacts;
mod builds;
mod clock;
mod options;
mod platforms;
mod pump;
mod records;
mod retry;
mod rules;
mod wire;
mod world;
