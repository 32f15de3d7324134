//! Commits: fetched by git2, and taken apart into an archive.

mod archive;
mod commit;
mod transport;

pub(crate) use archive::{Archive, archive};
pub(crate) use commit::{Limits, fetch_commit};
pub(crate) use transport::speak_http;
