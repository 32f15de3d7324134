//! Stories of the front door, told with real HTTP and a store in memory.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod forge;
mod hooks;
