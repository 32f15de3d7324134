//! What the author of a plugin depends on.
//!
//! A plugin is one function from a task to a verdict. It is built with `cargo build --target wasm32-wasip2` as a `cdylib`:
//!
//! ```no_run
//! use millrace_sdk::prelude::*;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     columns_max: usize,
//! }
//!
//! fn run(task: Task) -> Result<Outcome, Failure> {
//!     let config: Config = config(&task)?;
//!     files::unpack("tree.tar", "tree")?;
//!     let spec = files::read_text(&format!("tree/{}", task.spec))?;
//!     let long = spec.lines().filter(|line| line.chars().count() > config.columns_max).count();
//!     if long > 0 {
//!         return Err(Failure::package(format!("{long} lines of {} are too long", task.spec)));
//!     }
//!     Ok(Outcome::Passed("no long lines".to_owned()))
//! }
//!
//! millrace_sdk::plugin!(run);
//! # fn main() {}
//! ```
//!
//! The first thing that most plugins do is [`fetch_tree`]; then they make a root ([`Root::create`](buildroot::Root)) and run
//! commands in it ([`Command`]). Everything that the host answers with an error becomes a [`Failure`] with `?`: it knows who must
//! act and says so in words.

mod command_line;
mod failure;
mod inputs;
pub mod rpmbuild;

/// The interface as `wit-bindgen` makes it of `wit/0.1.0`.
#[allow(missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        world: "plugin",
        pub_export_macro: true,
        export_macro_name: "export_plugin",
        default_bindings_module: "millrace_sdk::bindings",
    });
}

pub use bindings::millrace::plugin::{artifacts, buildroot, command, files, log, types};
pub use bindings::{Failure, Outcome, Task};
pub use command_line::{Command, shell};
pub use failure::tail_of;
pub use inputs::{config, fetch, fetch_tree, packages};

/// What a plugin's source begins with.
pub mod prelude {
    pub use crate::buildroot::{Kind, Root};
    pub use crate::types::{Artifact, Severity};
    pub use crate::{
        Command, Failure, Outcome, Task, artifacts, config, fetch, fetch_tree, files, log,
        packages, shell,
    };
}

/// Makes a function `fn(Task) -> Result<Outcome, Failure>` the plugin that this crate is.
#[macro_export]
macro_rules! plugin {
    ($run:path) => {
        struct MillracePlugin;

        impl $crate::bindings::Guest for MillracePlugin {
            fn run(task: $crate::Task) -> ::core::result::Result<$crate::Outcome, $crate::Failure> {
                $run(task)
            }
        }

        $crate::bindings::export_plugin!(MillracePlugin with_types_in $crate::bindings);
    };
}
