//! The front door of the line: webhooks come in, pushes go out to be fetched.
//!
//! [`router`] answers what forges say, one file per forge below [`forge`]. A push is written down together with the order to
//! fetch it, so nothing that was accepted is lost.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "tests end where something is not as it should be"
    )
)]

pub mod forge;
mod hooks;
#[cfg(feature = "lambda")]
pub mod lambda;
mod reply;
mod secret;

pub use hooks::{BODY_BYTES_MAX, Clock, Listener, router};
pub use secret::{Secret, SecretError};
