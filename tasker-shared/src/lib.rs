//! The library of Tasker's services: the template registry with its caches, models,
//! configuration, and the context that connects them.
//!
//! Start reading at [`registry::TaskHandlerRegistry`]. `ARCHITECTURE.md` in the repository has the
//! map.
//!
//! ```no_run
//! use tasker_shared::SystemContext;
//! use tasker_shared::config::ConfigLoader;
//! use tasker_shared::models::core::task_request::TaskRequest;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let context = SystemContext::connect(ConfigLoader::load_from_process()?).await?;
//! let request = TaskRequest::new("checkout", "storefront").with_version("1.2.0");
//! let registry = &context.task_handler_registry;
//! let checkout = registry.resolve_handler(&request).await?;
//! println!("{} steps", checkout.template.steps.len());
//! context.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod cache;
pub mod config;
pub mod database;
pub mod error_chain;
pub mod events;
pub mod execution;
pub mod metrics;
pub mod models;
pub mod registry;
pub mod system_context;
#[cfg(test)]
mod tests;
pub mod types;

pub use system_context::SystemContext;
