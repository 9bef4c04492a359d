//! Tests that need services.

mod app;
mod cache;
mod directory;
mod registration;
mod resolve;
