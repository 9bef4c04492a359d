//! What is stored in PostgreSQL, and what it is made from.

pub mod core;
