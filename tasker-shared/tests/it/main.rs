//! Tests that need services. A service that is missing fails them.

mod app;
mod cache;
mod cache_faults;
mod directory;
mod inspection;
mod jsonb;
mod registration;
mod resolve;
mod triggers;
mod unknown_names;
