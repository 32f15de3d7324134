//! Who gives the commands.

use millrace_core::access::Actor;

/// The user of this shell; of one that sudo has started, the user who did.
pub(crate) fn local() -> Actor {
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER"));
    Actor::Local(name.unwrap_or_else(|_| "somebody".to_owned()))
}
