//! The library of Tasker's services: the template registry with its caches, models,
//! configuration, and the context that connects them.
//!
//! Start reading at [`registry::TaskHandlerRegistry`]. `ARCHITECTURE.md` in the repository has the
//! map.

pub mod cache;
pub mod config;
pub mod database;
pub mod events;
pub mod metrics;
pub mod models;
pub mod registry;
pub mod system_context;
#[cfg(test)]
mod test_sources;
pub mod types;

pub use system_context::SystemContext;
