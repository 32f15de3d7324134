//! The machine that the runner works on: its architecture, what it emulates, the ids of its user, its certificates, its files.

pub mod arch;
pub(crate) mod capacity;
pub mod emulation;
pub(crate) mod removal;
pub mod subordinate;
pub(crate) mod trust;
