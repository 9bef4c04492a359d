//! Tests that need services.

mod app;
mod directory;
mod registration;
mod resolve;
