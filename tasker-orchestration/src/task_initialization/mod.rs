//! From a request to a task with its first steps.
//!
//! In this order, so that a wrong request costs as little as it can: the request itself is
//! checked, the template is resolved, the context is checked against the template's schema, and
//! one statement writes the task. What depends on the template alone is prepared once per content
//! hash and kept.

mod announce;
mod errors;
mod identity;
mod initializer;
mod input_schema;
mod plan;
mod prepared;
mod request_check;

pub use errors::{TaskInitializationError, Violation};
pub use initializer::{InitializedTask, TaskInitializer};
pub use tasker_shared::models::core::task_template::input_schema::InputSchemaError;
