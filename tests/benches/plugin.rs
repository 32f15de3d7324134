//! Not measured yet.
use crate::row::Row;
pub fn rows() -> Vec<Row> { Vec::new() }
