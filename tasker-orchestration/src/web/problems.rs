//! Maps errors of task creation to problems.

use tasker_web::problem_kinds as kinds;
use tasker_web::{FieldError, Problem};

use crate::task_initialization::{TaskInitializationError, Violation};

impl From<TaskInitializationError> for Problem {
    fn from(error: TaskInitializationError) -> Self {
        use TaskInitializationError as E;

        match error {
            E::Invalid(violations) => Self::new(
                &kinds::VALIDATION_FAILED,
                "The request is not valid; `errors` lists the reasons. Correct it and send it again.",
            )
            .with_errors(field_errors(violations)),
            E::IdempotencyKeyRequired => Self::new(
                &kinds::IDEMPOTENCY_KEY_REQUIRED,
                "The template's identity strategy is caller_provided: send an `idempotency_key`, \
                 and the same one whenever you mean the same task.",
            ),
            E::Template(error) => error.into(),
            // The author of the schema needs the reason, and it contains nothing internal.
            E::Schema(error) => Self::new(
                &kinds::TEMPLATE_SCHEMA_INVALID,
                format!("No task can be created until the template is corrected: {error}."),
            ),
            E::Context(violations) => Self::new(
                &kinds::CONTEXT_INVALID,
                "The context does not satisfy the template's input_schema; `errors` lists the places.",
            )
            .with_errors(field_errors(violations)),
            E::ContextTooComplex => Self::new(
                &kinds::CONTEXT_TOO_COMPLEX,
                "Checking the context against the template's input_schema takes too many steps. Send \
                 a smaller or less nested context, or simplify the schema: alternatives that nest \
                 (oneOf, anyOf, not) cost the most.",
            ),
            E::Busy => Self::new(&kinds::BUSY, "Too many requests are waiting. Try again."),
            E::TemplateChanged => Self::new(
                &kinds::TEMPLATE_CHANGED,
                "The template or the task was deleted or replaced while the task was created. No \
                 task was created. Try again.",
            ),
            E::Database(error) => error.into(),
            E::Uncertain { task_uuid, .. } => Self::new(
                &kinds::TASK_UNCERTAIN,
                format!(
                    "PostgreSQL's answer was lost. The task {task_uuid} may have been created: read \
                     it before you send the request again, or send it with an `idempotency_key`."
                ),
            )
            .with_instance(format!("/v1/tasks/{task_uuid}"))
            .with_source(error),
        }
    }
}

fn field_errors(violations: Vec<Violation>) -> Vec<FieldError> {
    violations
        .into_iter()
        .map(|violation| FieldError::new(violation.pointer, violation.message))
        .collect()
}
