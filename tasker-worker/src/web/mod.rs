//! The worker's HTTP interface.

mod handlers;
pub mod openapi;
pub mod routes;
