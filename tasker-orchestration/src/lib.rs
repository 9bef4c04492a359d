//! Tasker's orchestration service: makes tasks from templates, and tells what became of them.
//!
//! [`TemplateLoader`] finds the template that a request names, [`TaskInitializer`] makes the task,
//! [`web`] is both over HTTP. Templates are registered by workers, never here.

pub mod service;
pub mod task_initialization;
pub mod template_loader;
pub mod web;

pub use task_initialization::TaskInitializer;
pub use template_loader::TemplateLoader;

/// How long one query of this service may take, its wait for a connection included.
const QUERY_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
