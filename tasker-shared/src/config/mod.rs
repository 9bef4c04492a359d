//! Configuration: one file a concern, layered by the loader.

mod macros;

pub mod cache;
pub mod config_loader;
pub mod database;
pub mod redact;
pub mod task_templates;
pub mod tasker;
pub mod web;

pub use config_loader::{ConfigError, ConfigLoader, EnvVarRule};
