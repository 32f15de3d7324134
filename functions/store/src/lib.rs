//! The ports through which the line keeps what it knows, and their adapters.
//!
//! Two traits: a [`StateStore`] for small records that change under a condition, together with an outbox of effects. A [`BlobStore`] for
//! bytes of any size under their digest, and for pointers that are swapped under a condition. `memory` and `local` implement both;
//! `contract` holds the tests that every adapter passes. [`advance()`] is the whole shell around the rules: load, step, save, again on
//! conflict.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod advance;
#[cfg(feature = "aws")]
pub mod aws;
pub mod blob;
pub mod builds;
#[cfg(feature = "contract")]
pub mod contract;
pub mod deliver;
mod durations;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod holds;
pub mod index;
pub mod leases;
#[cfg(feature = "local")]
pub mod local;
pub mod memory;
pub mod orders;
pub mod ownership;
pub mod packages;
pub mod queue;
pub mod records;
pub mod repository_names;
pub mod roots;
pub mod runner_status;
pub mod runners;
#[cfg(feature = "s3")]
pub mod s3;
pub mod state;

pub use advance::{AdvanceError, Aggregate, advance};
pub use blob::{
    Address, BlobError, BlobStore, Part, PointerVersion, SwapError, as_download, package_head,
    pieces,
};
pub use deliver::{Deliver, DeliverError, Recipient, tell_build, tell_given_up, tell_waiting};
pub use millrace_core::chain;
pub use records::Stored;
pub use state::{
    Commit, Expect, IndexEntry, IndexHit, Key, Message, MessageId, Record, SaveError, StateError,
    StateStore, Table, Version, Write,
};
