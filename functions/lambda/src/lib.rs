//! What makes a function of the line one of AWS Lambda: where its stores are, how messages come to it, how it is spoken to.
//!
//! One program may be several functions: `_HANDLER`, which the template sets, says which of them a process is. The table is what
//! counts, and everything that wakes a function is only a hint. An invocation names a message, and the function reads it before it
//! acts, so that twice, late and out of order do no harm.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod environment;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "invoke")]
mod invoke;
mod messages;
pub mod seal;

pub use environment::{EnvironmentError, begin, blobs, config, now, pairs, state, variable};
#[cfg(feature = "http")]
pub use http::serve;
#[cfg(feature = "invoke")]
pub use invoke::{Functions, InvokeError};
pub use lambda_runtime::Error;
pub use messages::{LoggedError, Wake, by_records, deliver, on_call};
