//! Stories of fetching, told with real repositories, real HTTP and a store in memory.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod checkout;
mod forge;
mod repositories;
mod sources;
mod transport;
