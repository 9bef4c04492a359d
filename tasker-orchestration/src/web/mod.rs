//! The HTTP interface. Health, metrics, configuration and API documents are in `tasker-web`.

mod handlers;
pub mod openapi;
mod problems;
pub mod routes;
mod state;
