//! Requests for tasks, and the documents of templates.

pub mod core;
