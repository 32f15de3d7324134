//! Made-up records in every state there is, made by the rules themselves: for tests of what shows them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests end where something is not as it should be"
)]

mod states;
mod story;
mod world;

pub use states::{build_of, every_state};
pub use story::{BuildStory, NOW, announced, file, platform, story};
pub use world::World;
