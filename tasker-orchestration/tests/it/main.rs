//! The service on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod analytics;
mod app;
mod bad_requests;
mod creation;
mod deduplication;
mod handlers;
mod history;
mod hostile;
mod operations;
mod process;
mod reading;
mod retirement;
mod secrets;
