//! The line itself, with the real tools: git, rpmbuild, dnf, rpmkeys. Read this first: it is what millrace is for.
//!
//! `cargo xtask test` sets up what these tests need.
#![allow(
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod architectures;
mod bad_packages;
mod chaos;
mod commands;
mod crash;
mod escapes;
mod locks;
mod log;
mod machines;
mod names;
mod order;
mod own_step;
mod providers;
mod release;
mod roots;
mod sandbox;
mod shell;
mod specs;
mod taking_back;
mod walls;
