//! Tests that need services. A service that is missing fails them.

mod app;
mod cache;
mod cache_faults;
mod directory;
mod inspection;
mod redis_kinds;
mod registration;
mod resolve;
mod unknown_names;
