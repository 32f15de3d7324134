//! The metadata of repositories: read out of packages, kept for the releases to come, and written.

pub mod cache;
mod filelists;
mod other;
pub mod package;
mod pieces;
mod primary;
mod repomd;
pub mod repository;
mod xml;
