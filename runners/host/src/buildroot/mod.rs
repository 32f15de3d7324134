//! Roots of a platform: made by dnf from its repositories and from what the line has released, kept by what is in them.
//!
//! Three layers, each read-only once it is made: the base (what every root of the kind has), what the line has released of that
//! since, and the build dependencies of one source package. Each is named by the digest of what it was made from, so that the
//! same question is never asked of dnf twice, and given up when nobody has used it for long. What a task changes lands in a fourth
//! layer, which goes with the task.
//!
//! The platform chooses what makes the base: dnf, an archive or image that somebody has made, mock, or nothing at all, so that the
//! machine itself is the root. Everything that is in a root is written down, and a root can be made again from that.
//!
//! Scriptlets of packages are foreign code: dnf resolves and downloads with the network and without running any; it installs in the
//! sandbox without the network.

mod base;
mod buildroots;
mod dnf;
mod error;
mod fetch;
mod fingerprints;
pub(crate) mod header;
mod host;
mod image;
mod index;
mod installed;
mod layer;
mod layers;
mod locked;
mod maker;
mod mock;
mod origin;
mod recipe;
mod record;
mod released;
mod repository_cache;
mod requires;
mod root;
mod rootfs;
mod session;
mod store;
mod task_files;

pub use buildroots::Buildroots;
pub use error::{RepositoryProblem, RootError};
pub use installed::InstalledPackage;
pub use millrace_core::roots::RootKind;
pub use recipe::Recipe;
pub use root::Root;
pub use session::RootSession;
