//! Handlers, one module per resource.

pub(super) mod analytics;
pub(super) mod cache;
mod checks;
pub(super) mod dlq;
pub(super) mod execution;
pub(super) mod history;
mod operate;
pub(super) mod retirement;
mod task_details;
pub(super) mod tasks;
pub(super) mod templates;
