//! Commands against a service, a worker and a database of the test's own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/broken.rs"]
mod broken;
#[path = "../common/mod.rs"]
mod common;

mod app;
mod commands;
mod database;
mod operate;
mod shop;
mod tutorial;
