//! Makes a task with its first steps from a request.
//!
//! The order keeps wrong requests cheap: check the request itself, resolve the template, check the
//! context against the template's schema, and write the task in one statement. The parts that depend
//! on the template alone are prepared once per hash.

mod announce;
mod check_pool;
mod context;
mod errors;
mod identity;
mod initializer;
mod numbers;
mod plan;
mod prepared;
mod request_check;
mod together;
mod turns;

pub(crate) use context::lossy_integers;
pub use errors::{TaskInitializationError, Violation};
pub use initializer::{InitializedTask, TaskInitializer};
pub(crate) use prepared::overridden;
pub use tasker_shared::models::core::task_template::input_schema::InputSchemaError;
