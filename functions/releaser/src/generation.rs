//! What a platform has released: the pointer to it, and the documents behind it.

pub mod certificate;
pub mod file;
pub mod history;
pub mod manifest;
pub mod root;
