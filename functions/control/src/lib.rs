//! Every verb of people and programs, once: everything that speaks to the line (today the command line) calls these, and nothing else
//! changes it for them.
//!
//! A verb is a function of the one who acts, of what they want, of the stores and of the time: it changes records, or says with a
//! [`ControlError`] who must act. It knows neither HTTP nor a terminal. What reads alone takes no [`Actor`](millrace_core::access::Actor).
//!
//! Some verbs need what another function keeps, and stay with it until there is a way to ask it. `release rollback` and the key check of
//! `platform add` are the releaser's, which signs with the signer's keys. `key create` and `key import` are the signer's; asking a forge
//! what a branch points at is the source's. Their callers do that part and come here for the rest.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "tests end where something is not as it should be"
    )
)]

pub mod build;
mod error;
pub mod hold;
pub mod lock;
pub mod message;
pub mod name;
pub mod package;
pub mod platform;
pub mod plugin;
pub mod runner;

pub use error::{ControlError, NotFound};
