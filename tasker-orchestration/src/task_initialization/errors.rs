//! Reasons why a task is not made.

use tasker_shared::database::DatabaseError;
use tasker_shared::models::core::task_template::input_schema::InputSchemaError;
use tasker_shared::registry::RegistryError;
use uuid::Uuid;

/// A problem of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer into the request.
    pub pointer: String,
    /// The problem there.
    pub message: String,
}

impl Violation {
    /// Returns a violation at `pointer`.
    pub(super) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// A task was not made. Nothing is written in any of these cases but [`Self::Uncertain`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskInitializationError {
    /// The request is wrong for every template.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// The template identifies its tasks by a key, and the request has none.
    #[error("the template asks for an idempotency key")]
    IdempotencyKeyRequired,
    /// The template cannot be resolved.
    #[error("the template cannot be resolved")]
    Template(#[from] RegistryError),
    /// The template's input schema cannot be used.
    #[error("the template's input schema cannot be used")]
    Schema(#[source] InputSchemaError),
    /// The context does not satisfy the template's input schema.
    #[error("the context does not satisfy the template's input schema")]
    Context(Vec<Violation>),
    /// Checking the context against the template's input schema needs more than its budget.
    #[error("the check of the context exceeded its budget")]
    ContextTooComplex,
    /// Too many requests are being served.
    #[error("too many requests are waiting")]
    Busy,
    /// The template was deleted or replaced twice while the task was made.
    #[error("the template was replaced while the task was made")]
    TemplateChanged,
    /// PostgreSQL failed.
    #[error("PostgreSQL did not make the task")]
    Database(#[from] DatabaseError),
    /// The answer of PostgreSQL was lost: the task may exist or not.
    #[error("the task {task_uuid} may exist, because the answer of PostgreSQL was lost")]
    Uncertain {
        /// The id that the task has if it exists.
        task_uuid: Uuid,
        /// The cause.
        #[source]
        source: DatabaseError,
    },
}
