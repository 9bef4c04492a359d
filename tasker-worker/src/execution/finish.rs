//! The end of a handler, as it is recorded.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::types::Json;
use tasker_shared::execution::{
    self, AttemptEnd, AttemptId, EndState, ExpansionError, Outcome, Raw,
};

use super::claimed::Attempt;
use super::outcome::{StepError, StepOutcome};

/// The end of a handler, by how it has to be recorded.
#[derive(Debug)]
pub(super) enum Finish {
    /// With other ends, in one statement.
    Record(AttemptEnd),
    /// With the steps that it creates.
    Create(AttemptEnd, Outcome),
}

/// Returns how an outcome is recorded.
///
/// # Errors
/// If its result cannot be stored, or lacks what a step of its type must say.
pub(super) fn success(attempt: &Attempt, outcome: &StepOutcome) -> Result<Finish, StepError> {
    let limit = attempt.limits.max_result_bytes;
    let result = match &outcome.text {
        Some(text) => {
            let raw = RawValue::from_string(text.to_string());
            RESULT.check(raw.map_err(|error| RESULT.not_json(&error))?, limit)?
        }
        None => RESULT.write(&outcome.result, limit)?,
    };
    let step_type = attempt.definition().map(|step| step.step_type);
    let creates = execution::outcome(step_type.unwrap_or_default(), result.get())
        .map_err(|error| invalid_outcome(&error))?;
    let end = AttemptEnd {
        id: attempt.id,
        state: EndState::Complete,
        result: Some(Json(result)),
        duration_ms: attempt.elapsed_ms(),
        metadata: json!({"reason": "handler_completed", "attempt": attempt.id.attempt}),
    };
    Ok(match creates {
        Some(outcome) => Finish::Create(end, outcome),
        None => Finish::Record(end),
    })
}

pub(super) fn invalid_outcome(error: &ExpansionError) -> StepError {
    StepError::permanent(error.to_string()).with_type("InvalidOutcome")
}

/// Decides what follows from an error.
pub(super) fn failure(attempt: &Attempt, error: &StepError) -> AttemptEnd {
    let retry = attempt.definition().map(|step| &step.retry);
    let (state, reason) = match retry {
        _ if !error.retryable => (EndState::Error, "permanent_error"),
        Some(retry) if retry.retryable && attempt.counted() < retry.max_attempts => {
            // Steps that failed together must not return together.
            let jitter = || rand::random_range(0.9..=1.1);
            let pause = error
                .retry_after
                .unwrap_or_else(|| retry.pause(attempt.counted()).mul_f64(jitter()));
            let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            (EndState::Retry(pause.min(MAX_PAUSE_MS)), "retryable_error")
        }
        Some(retry) if !retry.retryable => (EndState::Error, "not_retryable"),
        _ => (EndState::Error, "attempts_exhausted"),
    };
    let details = error.to_json(attempt.limits.max_result_bytes);
    failed(attempt.id, state, reason, details, attempt.elapsed_ms())
}

/// The end of an attempt with the error in `details`.
fn failed(
    id: AttemptId,
    state: EndState,
    reason: &str,
    details: Value,
    duration_ms: i64,
) -> AttemptEnd {
    // PostgreSQL would refuse the error, and the step would keep that of the attempt before.
    let details = without_nul(details);
    AttemptEnd {
        id,
        state,
        result: serde_json::value::to_raw_value(&details).ok().map(Json),
        duration_ms,
        metadata: json!({"reason": reason, "attempt": id.attempt, "error": details["error"]}),
    }
}

/// The longest pause that a handler can ask for: a year.
const MAX_PAUSE_MS: i64 = 365 * 24 * 3600 * 1000;

/// A kind of value that handlers store, by its names in errors.
pub(super) struct Stored {
    noun: &'static str,
    not_json: &'static str,
    too_large: &'static str,
}

pub(super) const RESULT: Stored = Stored {
    noun: "result",
    not_json: "ResultNotJson",
    too_large: "ResultTooLarge",
};
pub(super) const CHECKPOINT: Stored = Stored {
    noun: "checkpoint",
    not_json: "CheckpointNotJson",
    too_large: "CheckpointTooLarge",
};

impl Stored {
    /// Writes a value as JSON that PostgreSQL can store.
    ///
    /// # Errors
    /// A permanent error for a value that is no JSON, has U+0000 in a text, or takes more than `limit`
    /// bytes.
    pub(super) fn write(
        &self,
        value: &impl Serialize,
        limit: u64,
    ) -> Result<Box<RawValue>, StepError> {
        let raw = serde_json::value::to_raw_value(value).map_err(|error| self.not_json(&error))?;
        self.check(raw, limit)
    }

    fn check(&self, raw: Box<RawValue>, limit: u64) -> Result<Box<RawValue>, StepError> {
        let (noun, bytes) = (self.noun, raw.get().len());
        if bytes as u64 > limit {
            let message = format!("the {noun} has {bytes} bytes; max_result_bytes allows {limit}");
            return Err(StepError::permanent(message).with_type(self.too_large));
        }
        if raw.get().contains("\\u0000") {
            let value: Value =
                serde_json::from_str(raw.get()).map_err(|error| self.not_json(&error))?;
            if has_nul(&value) {
                let message = format!(
                    "the {noun} contains the character U+0000, which PostgreSQL cannot store"
                );
                return Err(StepError::permanent(message).with_type(self.not_json));
            }
        }
        Ok(raw)
    }

    fn not_json(&self, error: &serde_json::Error) -> StepError {
        let noun = self.noun;
        StepError::permanent(format!("the {noun} cannot be written as JSON: {error}"))
            .with_type(self.not_json)
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (key.replace('\0', "\u{fffd}"), without_nul(value)))
            .collect(),
        other => other,
    }
}

/// The end of an attempt whose result or error PostgreSQL refuses. A failure stays the failure that it
/// was, and loses its message and context.
pub(super) fn refused_by_database(end: &AttemptEnd, refusal: &str) -> AttemptEnd {
    let (state, reason, error) = if end.state == EndState::Complete {
        let error = StepError::permanent(format!("PostgreSQL refused the result: {refusal}"));
        let error = error.with_type("ResultNotStorable");
        (EndState::Error, "permanent_error", error)
    } else {
        let (reason, old) = (&end.metadata["reason"], &end.metadata["error"]);
        let error = StepError {
            retryable: old["retryable"] == true,
            ..StepError::permanent(format!("PostgreSQL refused the error: {refusal}"))
        };
        let error = error.with_type(old["type"].as_str().unwrap_or_default());
        (end.state, reason.as_str().unwrap_or_default(), error)
    };
    failed(
        end.id,
        state,
        reason,
        error.to_json(u64::MAX),
        end.duration_ms,
    )
}

/// The result of an attempt that ended well, for the steps that depend on it.
pub(super) fn copied(result: Option<&Raw>) -> Option<Box<RawValue>> {
    result.map(|Json(raw)| raw.clone())
}

/// The end of an attempt whose template cannot be used.
pub(super) fn without_template(id: AttemptId, error: &StepError) -> AttemptEnd {
    let details = error.to_json(u64::MAX);
    failed(id, EndState::Error, "permanent_error", details, 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tasker_shared::execution::{AttemptEnd, AttemptId, EndState};
    use uuid::Uuid;

    use super::{CHECKPOINT, RESULT, failed, refused_by_database};
    use crate::execution::outcome::StepError;

    const ID: AttemptId = AttemptId {
        task_uuid: Uuid::nil(),
        step_uuid: Uuid::nil(),
        attempt: 2,
    };

    fn end(error: &StepError, limit: u64) -> (AttemptEnd, Value) {
        let state = EndState::Retry(7);
        let end = failed(ID, state, "retryable_error", error.to_json(limit), 1);
        let stored =
            serde_json::from_str(end.result.as_ref().expect("it is stored").get()).unwrap();
        (end, stored)
    }

    #[test]
    fn an_error_with_nul_is_stored_with_another_character_instead() {
        let error = StepError::retryable("a\0b").with_context(json!({"k\0": ["\0"]}));
        let (end, stored) = end(&error, 1024);
        assert_eq!(stored["error"]["message"], "a\u{fffd}b");
        assert_eq!(
            stored["error"]["context"],
            json!({"k\u{fffd}": ["\u{fffd}"]})
        );
        assert_eq!(end.metadata["error"], stored["error"]);
    }

    #[test]
    fn an_error_is_bounded_by_a_note_of_its_contexts_size_and_a_clipped_message() {
        let error = StepError::retryable("é".repeat(600)).with_context(json!("x".repeat(1023)));
        let (_, stored) = end(&error, 1023);
        assert_eq!(stored["error"]["message"], "é".repeat(511));
        let note = stored["error"]["context"].as_str().unwrap();
        assert!(note.contains("1025 bytes"), "{note}");
    }

    #[test]
    fn a_value_that_is_refused_is_called_by_its_name() {
        for (kind, noun, prefix) in [
            (RESULT, "result", "Result"),
            (CHECKPOINT, "checkpoint", "Checkpoint"),
        ] {
            for (value, suffix) in [("x".repeat(99), "TooLarge"), ("\0".into(), "NotJson")] {
                let error = kind.write(&value, 99).unwrap_err();
                assert!(!error.retryable);
                assert_eq!(error.error_type, format!("{prefix}{suffix}"));
                assert!(error.message.contains(noun), "{}", error.message);
            }
        }
    }

    #[test]
    fn a_failure_whose_error_is_refused_stays_the_failure_that_it_was() {
        let error = StepError::retryable("no")
            .with_type("Flaky")
            .with_context(json!([1]));
        let (end, _) = end(&error, 1024);
        let replaced = refused_by_database(&end, "too deep");
        assert_eq!(replaced.state, EndState::Retry(7));
        assert_eq!(
            replaced.metadata,
            json!({"reason": "retryable_error", "attempt": 2, "error": {
                "type": "Flaky", "message": "PostgreSQL refused the error: too deep",
                "retryable": true,
            }})
        );
    }
}
