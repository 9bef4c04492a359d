//! Tasker's orchestration service: creates tasks from templates, and reports their state.
//!
//! [`TemplateLoader`] finds the template that a request names, [`TaskInitializer`] creates the task,
//! and [`web`] serves both over HTTP. Workers register templates; this service does not.

mod analytics;
pub mod ends;
mod models;
pub mod service;
pub mod task_initialization;
pub mod template_loader;
pub mod upkeep;
pub mod web;

pub use task_initialization::TaskInitializer;
pub use template_loader::TemplateLoader;

/// Time limit of one query, including the wait for a connection.
const QUERY_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
