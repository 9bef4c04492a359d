//! Rows of PostgreSQL, and the documents that they are made from.

pub mod core;
