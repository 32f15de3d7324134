//! The life of a build: one state, one closed list of events, one function that says what follows.

mod clock;
mod conclude;
mod event;
mod leases;
mod model;
mod needs;
mod orders;
mod retry;
mod step;
mod verdict;

pub use clock::AHEAD_MS;
pub use event::{Event, LeaseRenewal, Refused};
pub use model::{Build, End, OrderWait, Stage};
