//! What a task that was not made looks like to a client.

use tasker_web::problem_kinds as kinds;
use tasker_web::{FieldError, Problem};

use crate::task_initialization::{TaskInitializationError, Violation};

impl From<TaskInitializationError> for Problem {
    fn from(error: TaskInitializationError) -> Self {
        use TaskInitializationError as E;

        match error {
            E::Invalid(violations) => Self::new(
                &kinds::VALIDATION_FAILED,
                "The request cannot be accepted; `errors` says why. Correct it and send it again.",
            )
            .with_errors(field_errors(violations)),
            E::IdempotencyKeyRequired => Self::new(
                &kinds::IDEMPOTENCY_KEY_REQUIRED,
                "The template's identity strategy is caller_provided: send an `idempotency_key` \
                 that is the same whenever the same task is meant.",
            ),
            E::Template(error) => error.into(),
            // The schema's author is who can act: nothing of ours is in the reason.
            E::Schema(error) => Self::new(
                &kinds::TEMPLATE_SCHEMA_INVALID,
                format!("No task can be made until the template is corrected: {error}."),
            ),
            E::Context(violations) => Self::new(
                &kinds::CONTEXT_INVALID,
                "The context does not satisfy the template's input_schema; `errors` says where.",
            )
            .with_errors(field_errors(violations)),
            E::TemplateChanged => Self::new(
                &kinds::TEMPLATE_CHANGED,
                "The template, or the task itself, was deleted or replaced meanwhile, and nothing \
                 was made. Try again.",
            ),
            E::Database(error) => error.into(),
        }
    }
}

fn field_errors(violations: Vec<Violation>) -> Vec<FieldError> {
    violations
        .into_iter()
        .map(|violation| FieldError::new(violation.pointer, violation.message))
        .collect()
}
