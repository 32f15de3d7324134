//! Stories of the front door, told with real repositories, real HTTP and a store in memory.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod checkout;
mod forge;
mod hooks;
mod sources;
mod transport;
