//! dnf and rpm of this machine, working on a root from outside (dnf(8)).
//!
//! Scriptlets run where dnf runs, and what they leave must not reach another task. So what all tasks share is never writable while one may
//! run, and what dnf is told to do lies in a folder that only the host writes to.

mod change;
mod configuration;
mod database;
mod exactly;
mod tool;
mod words;

pub(super) use change::{ChangeResult, PackageChange};
pub(super) use tool::Dnf;
pub(super) use words::last_words;
