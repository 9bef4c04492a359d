//! Requests for tasks, and the documents of templates.

pub mod task_request;

pub use tasker_templates as task_template;
pub use tasker_templates::identity_strategy;
