//! The runner's side of the lease desk: how it asks for work, keeps a lease, sends a log, and hands files and answers in.

pub mod client;
pub mod lease;
pub mod log;
pub mod patience;
pub mod stop;
