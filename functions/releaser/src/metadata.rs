//! The metadata of repositories: read out of packages, kept for the releases to come, and written.
//!
//! A file more in `repodata/` is a file like `primary.rs` here, a field of `pieces.rs` (with a default, for what is kept already), a line of
//! `package.rs` that fills it, and its place in the list of `repomd.rs`.

pub mod cache;
mod filelists;
mod other;
pub mod package;
mod pieces;
mod primary;
mod repomd;
pub mod repository;
mod xml;
