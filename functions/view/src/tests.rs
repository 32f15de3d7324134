//! Tests of what is shown.

mod shape;
