//! Every adapter under the same promises, and what each promises beside them.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod builds;
mod crash;
mod local;
mod memory;
