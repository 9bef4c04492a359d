//! Configuration.
//!
//! The structs define keys, defaults and checks. [`ConfigLoader`] fills them from the embedded
//! defaults, the files of `config/tasker` and the environment. A test generates
//! `docs/configuration.md` from them.

mod checks;
mod env_override;
mod errors;
mod explain;
mod fields;
mod flatten;
mod interpolation;
mod layers;
mod macros;
mod merge;
pub(crate) mod redis_checks;
mod validation;
mod variables;

pub mod cache;
pub mod config_loader;
pub mod database;
pub mod execution;
pub mod http_handlers;
pub mod redact;
pub mod redis;
pub mod secret;
pub mod task_templates;
pub mod tasker;
pub mod upkeep;
pub mod web;

#[cfg(test)]
mod tests;

pub use config_loader::{ConfigLoader, EnvVarRule};
pub use errors::{ConfigError, ConfigProblem, Origin};
pub use explain::{ExplainedKey, nearest_key};
pub use redis_checks::RedisProblem;
