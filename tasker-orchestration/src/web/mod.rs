//! The service over HTTP. Health, metrics, configuration and documentation are shared.

mod handlers;
pub mod openapi;
mod problems;
pub mod routes;
