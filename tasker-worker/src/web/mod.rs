//! The worker's HTTP interface.

mod conditional;
mod handlers;
pub mod openapi;
pub mod routes;
