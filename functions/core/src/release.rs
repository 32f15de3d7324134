//! What is signed and released: orders, and the repositories that packages go into.

pub mod order;
pub mod repository;
