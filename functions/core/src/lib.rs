//! The rules of the line: what a push becomes, which task may run, whose answer counts, what is signed and released.
//!
//! Nothing here does IO, waits, reads a clock or rolls dice; `clippy.toml` beside `Cargo.toml` bans it. Time comes in as a
//! [`Timestamp`], randomness as an argument, and everything that shall happen outside goes out as an [`order::Effect`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod address;
pub mod build;
pub mod cause;
mod chain;
pub mod clone_url;
mod digest;
pub mod header;
pub mod hold;
pub mod hosts;
pub mod log;
mod names;
pub mod ownership;
pub mod plan;
pub mod platform;
pub mod plugin;
pub mod protocol;
pub mod push;
pub mod queue;
pub mod range;
pub mod release;
pub mod roots;
pub mod rpm;
pub mod runner;
pub mod sources;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;

pub use chain::chain;
pub use digest::{Digest, DigestError};
pub use names::{
    Arch, ArchError, BuildId, FeatureName, KeyName, LeaseNumber, NameError, PackageName,
    PlatformName, PluginName, ProjectName, PushId, RunnerName, StepName, Timestamp,
};
pub use release::order;
