//! The service on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod analytics;
mod app;
mod bad_requests;
mod caching;
mod causes;
mod creation;
mod deduplication;
mod failover;
mod handlers;
mod history;
mod hostile;
mod locked_row;
mod operations;
mod pooler;
mod process;
mod reading;
mod restore;
mod retirement;
mod secrets;
mod settings;
mod starting;
mod uncertain;
