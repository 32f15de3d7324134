//! The metadata of repositories: read out of packages, kept for the releases to come, and written.
//!
//! One more file of `repodata/` that says something of every package is a file like `primary.rs` here, and a field of [`pieces`] (with a
//! default, for packages that were released before, and counted in its `bytes`). It also needs a line of [`package`] that fills it, and its
//! place in the lists of `repomd.rs` and of `tests/metadata.rs`.
//!
//! A file that is not made of packages (errata, groups) is part of a generation. It begins with a field of
//! [`Generation`](crate::generation::manifest::Generation), which an order or a verb of `control` changes, and `repomd.rs` writes it besides the lists.

pub mod cache;
mod filelists;
mod other;
pub mod package;
mod pieces;
mod primary;
mod repomd;
pub mod repository;
mod xml;
