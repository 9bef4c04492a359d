//! Commands that need neither a service nor a database.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/broken.rs"]
mod broken;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/http.rs"]
mod http;

mod authors;
mod config;
mod credentials;
mod database;
mod follow;
mod help;
mod pipe;
mod service;
mod terminal;
mod validate;

/// Runs the program in a folder to its end.
fn run_in(folder: &std::path::Path, arguments: &[&str]) -> common::Outcome {
    common::outcome(common::program(folder).args(arguments))
}
