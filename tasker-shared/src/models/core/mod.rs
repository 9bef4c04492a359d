//! The rows and documents of the workflow engine.

pub mod identity_strategy;
pub mod task;
pub mod task_request;
pub mod task_template;
pub mod workflow_step;
