//! The two ends of a handler.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The result of a handler that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOutcome {
    pub(super) result: Value,
    /// Its text instead, if it came as one. Numbers keep the digits that a [`Value`] has no place for.
    pub(super) text: Option<Arc<str>>,
    /// Set if the handler recorded it in a transaction of its own.
    pub(super) recorded: bool,
}

impl StepOutcome {
    /// A result of any type that can be written as JSON.
    ///
    /// # Errors
    /// A permanent error if it cannot.
    pub fn json(result: impl Serialize) -> Result<Self, StepError> {
        serde_json::to_value(result)
            .map(Self::from)
            .map_err(|error| {
                StepError::permanent(format!("the result cannot be written as JSON: {error}"))
                    .with_type("ResultNotJson")
            })
    }

    /// Reads a result from its text, which alone is stored.
    pub(super) fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let text: Box<RawValue> = serde_json::from_slice(json)?;
        Ok(Self {
            text: Some(text.get().into()),
            ..Self::from(Value::Null)
        })
    }

    /// The outcome of a decision that creates these steps of the template.
    #[must_use]
    pub fn create_steps<I: IntoIterator<Item = S>, S: Into<String>>(names: I) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        Self::from(json!({
            "decision_point_outcome": {"type": "create_steps", "step_names": names},
        }))
    }

    /// The outcome of a batchable step that creates an instance of the batch worker `worker` for
    /// each cursor, which is usually `{"batch_id", "start_cursor", "end_cursor", "batch_size"}`.
    #[must_use]
    pub fn create_batches(worker: &str, cursors: Vec<Value>, total_items: u64) -> Self {
        Self::from(json!({"batch_processing_outcome": {
            "type": "create_batches", "worker_template_name": worker,
            "worker_count": cursors.len(), "cursor_configs": Value::Array(cursors),
            "total_items": total_items,
        }}))
    }

    /// The outcome of a batchable step that found nothing to do.
    #[must_use]
    pub fn no_batches() -> Self {
        Self::from(json!({"batch_processing_outcome": {"type": "no_batches"}}))
    }

    /// The outcome of a decision that creates nothing.
    #[must_use]
    pub fn no_branches() -> Self {
        Self::from(json!({"decision_point_outcome": {"type": "no_branches"}}))
    }

    /// The JSON that is stored with the step.
    #[must_use]
    pub fn result(&self) -> &Value {
        &self.result
    }
}

impl From<Value> for StepOutcome {
    fn from(result: Value) -> Self {
        Self {
            result,
            text: None,
            recorded: false,
        }
    }
}

impl From<()> for StepOutcome {
    fn from((): ()) -> Self {
        Self::from(json!({}))
    }
}

/// The error of a handler that failed.
///
/// It converts from every other error, as a retryable one, so that `?` works in handlers. For that
/// it does not implement [`std::error::Error`] itself.
#[derive(Debug, Clone, PartialEq)]
pub struct StepError {
    pub(super) retryable: bool,
    pub(super) error_type: String,
    pub(super) message: String,
    pub(super) context: Option<Value>,
    pub(super) retry_after: Option<Duration>,
}

impl StepError {
    /// A failure that another attempt may not have.
    #[must_use]
    pub fn retryable(message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            error_type: String::from("RetryableError"),
            message: message.into(),
            context: None,
            retry_after: None,
        }
    }

    /// A failure that every attempt would have.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            retryable: false,
            error_type: String::from("PermanentError"),
            ..Self::retryable(message)
        }
    }

    /// Names the kind of error, such as `CardDeclined`.
    #[must_use]
    pub fn with_type(mut self, error_type: impl Into<String>) -> Self {
        self.error_type = error_type.into();
        self
    }

    /// Adds facts for whoever looks into it. One with more than `max_result_bytes` is left out.
    #[must_use]
    pub fn with_context(mut self, context: Value) -> Self {
        self.context = Some(context);
        self
    }

    /// Sets the pause before the next attempt, instead of the template's backoff.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// Returns it as JSON in which type, message and context have at most `limit` bytes each. It is stored
    /// twice for each attempt.
    pub(super) fn to_json(&self, limit: u64) -> Value {
        let mut error = json!({
            "type": clipped(&self.error_type, limit), "message": clipped(&self.message, limit),
            "retryable": self.retryable,
        });
        if let Some(context) = &self.context {
            let bytes = context.to_string().len();
            error["context"] = if bytes as u64 > limit {
                format!("left out: it has {bytes} bytes, and max_result_bytes allows {limit}")
                    .into()
            } else {
                context.clone()
            };
        }
        json!({"error": error})
    }
}

/// Returns the characters of `text` that fit into `limit` bytes.
fn clipped(text: &str, limit: u64) -> &str {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    &text[..text.floor_char_boundary(limit)]
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl<E: std::error::Error> From<E> for StepError {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::retryable(message).with_type("Error")
    }
}
