//! The metadata of repositories: read out of packages, kept for the releases to come, and written.
//!
//! One more file of `repodata/` that says something of every package is a file like `primary.rs` here, and a field of [`pieces`] (with a
//! default, for packages that were released before, and counted in its `bytes`). It also needs a line of [`package`] that fills it, and its
//! place in the list of `repomd.rs` and, if createrepo_c makes it too, in that of `tests/metadata.rs`.
//!
//! A file that is not made of packages (errata, groups) is part of a generation. It begins with a field of
//! [`Generation`](crate::generation::manifest::Generation), with a default for the manifests that there are. An order changes it, or a function
//! of `platform.rs` that the command line calls, as for a rollback; `with_packages_of` says what a rollback does with it. Such a rule marks the
//! repositories as stale, since only those are written, and `repository.rs` hands the field to `repomd.rs`.

pub mod cache;
mod filelists;
mod other;
pub mod package;
mod pieces;
mod primary;
mod repomd;
pub mod repository;
mod xml;
