//! The metadata of repositories: what is read out of packages, kept for the releases to come, and written.

pub mod cache;
pub mod package;
pub mod repodata;
pub mod repository;
