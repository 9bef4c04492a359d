//! The rows and documents of the workflow engine.

pub mod task;
pub mod task_request;
pub mod workflow_step;

pub use tasker_templates as task_template;
pub use tasker_templates::identity_strategy;
