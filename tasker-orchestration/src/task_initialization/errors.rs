//! Why a task was not made.

use tasker_shared::database::DatabaseError;
use tasker_shared::models::core::task_template::input_schema::InputSchemaError;
use tasker_shared::registry::RegistryError;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer into the request.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl Violation {
    /// `message` about the place `pointer`.
    pub(super) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// Why a task was not made. Nothing is written in any of these cases, except that a lost
/// connection leaves open whether the last statement took effect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskInitializationError {
    /// The request is wrong whatever the template.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// The template identifies its tasks by a key that the request does not have.
    #[error("the template asks for an idempotency key")]
    IdempotencyKeyRequired,
    /// The template cannot be had.
    #[error("the template cannot be resolved")]
    Template(#[from] RegistryError),
    /// The template's input schema is no JSON Schema that can be used.
    #[error("the template's input schema cannot be used")]
    Schema(#[source] InputSchemaError),
    /// The context does not satisfy the template's input schema.
    #[error("the context does not satisfy the template's input schema")]
    Context(Vec<Violation>),
    /// The template was deleted or replaced twice while the task was made.
    #[error("the template was replaced while the task was made")]
    TemplateChanged,
    /// PostgreSQL failed.
    #[error("PostgreSQL did not make the task")]
    Database(#[from] DatabaseError),
}
