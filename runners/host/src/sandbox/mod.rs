//! Runs a foreign command where it can harm nobody: in namespaces of its own, without a network, within bounds.
//!
//! The process that runs tasks has many threads, and namespaces want a process with one. So commands are started by this very
//! program once more, which [`main_if_asked`] turns into the starter, and the starter's forks into launchers. What stops a command is
//! the death of its first process: the kernel ends every process of a PID namespace with it (pid_namespaces(7)).
//!
//! ```text
//! runner (run)      starter          launcher            first process          command
//!    │── plan, streams ─►│                │                     │                    │
//!    │                   │─ fork beside ─►│                     │                    │
//!    │◄──────── its process id ───────────│                     │                    │
//!    │                                    │── fork into groups ►│                    │
//!    │                                    │                     │ makes the root     │
//!    │                                    │                     │─── fork ──────────►│ gives up rights, exec
//!    │◄──────────────────────────────── what it prints ─────────────────────────────│
//!    │                                    │◄── what folders list? (order) ───────────│
//!    │                                    │◄────── status ──────│◄──── status ───────│
//!    │◄──────────── status ───────────────│
//! ```

mod calls;
mod capabilities;
mod cgroup;
mod command;
pub(crate) mod disk;
mod exec;
mod handles;
mod input;
mod inspect;
mod launcher;
mod listing;
pub(crate) mod mounts;
mod order;
mod output;
mod plan;
mod process;
mod roots;
mod run;
mod setup_error;
mod starter;
mod terminal;
mod view;
mod watch;

pub(crate) use calls::are_filtered as calls_are_filtered;
pub(crate) use cgroup::Bounds;
pub use command::{Command, CommandEnd, SandboxError};
pub(crate) use disk::used;
pub(crate) use inspect::Inspection;
pub use run::Sandbox;
pub use starter::main_if_asked;
pub use terminal::Terminal;
pub use view::{Overlay, Shown, View};
