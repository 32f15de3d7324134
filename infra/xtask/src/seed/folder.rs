//! The folder in which a seed distribution is made, and the RPMs in it.

use crate::host::Arch;
use std::path::PathBuf;

/// The folder in which one is made.
#[derive(Debug)]
pub struct SeedFolder {
    pub root: PathBuf,
    /// What it is for.
    pub arch: Arch,
}

impl SeedFolder {
    /// A file or folder in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A finished package.
    pub fn rpm(&self, file: &str) -> PathBuf {
        self.join("rpms").join(file)
    }
}

/// An RPM of a seed distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeedPackage {
    pub name: String,
    /// The package it was made of.
    pub debian: String,
}
