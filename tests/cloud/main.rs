//! The line over the services of AWS: against an emulator that `cargo xtask test --cloud` installs and starts, or against an account
//! that one names.
//!
//! `MILLRACE_TEST_AWS` says where the services are: an address, or `account` for those of the account whose credentials and region
//! the environment has. Everything made there has a name of its own, and is removed again.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod blobs;
mod clocks;
mod faults;
mod keys;
mod lambda;
mod line;
mod links;
mod meter;
mod owner;
mod price;
mod proxy;
mod records;
mod script;
mod services;
mod stack;
mod trouble;
