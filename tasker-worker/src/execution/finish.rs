//! The end of a handler, as it is recorded.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::types::Json;
use tasker_shared::execution::{
    self, AttemptEnd, AttemptId, EndState, ExpansionError, Outcome, Raw,
};

use super::backoff;
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
    let result = match &outcome.text {
        Some(text) => storable_text(RawValue::from_string(text.to_string()).map_err(not_json)?)?,
        None => storable(&outcome.result)?,
    };
    let (bytes, limit) = (result.get().len(), attempt.limits.max_result_bytes);
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > limit) {
        return Err(StepError::permanent(format!(
            "the result has {bytes} bytes; max_result_bytes allows {limit}"
        ))
        .with_type("ResultTooLarge"));
    }
    let step_type = attempt.definition().map(|step| step.step_type);
    let creates = execution::outcome(step_type.unwrap_or_default(), &outcome.result)
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
            let pause = error
                .retry_after
                .unwrap_or_else(|| backoff::with_jitter(retry, attempt.counted()));
            let pause = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            (EndState::Retry(pause.min(MAX_PAUSE_MS)), "retryable_error")
        }
        Some(retry) if !retry.retryable => (EndState::Error, "not_retryable"),
        _ => (EndState::Error, "attempts_exhausted"),
    };
    let details = error.to_json();
    let mut metadata = json!({"reason": reason, "attempt": attempt.id.attempt});
    metadata["error"] = details["error"].clone();
    AttemptEnd {
        id: attempt.id,
        state,
        result: storable(&details).ok().map(Json),
        duration_ms: attempt.elapsed_ms(),
        metadata: without_nul(metadata),
    }
}

/// The longest pause that a handler can ask for: a year.
const MAX_PAUSE_MS: i64 = 365 * 24 * 3600 * 1000;

/// Writes a value as JSON that PostgreSQL can store.
///
/// # Errors
/// A permanent error for a value that is no JSON, or has U+0000 in a text.
pub(super) fn storable(value: &impl Serialize) -> Result<Box<RawValue>, StepError> {
    storable_text(serde_json::value::to_raw_value(value).map_err(not_json)?)
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn not_json(error: serde_json::Error) -> StepError {
    StepError::permanent(format!("the result cannot be written as JSON: {error}"))
        .with_type("ResultNotJson")
}

fn storable_text(raw: Box<RawValue>) -> Result<Box<RawValue>, StepError> {
    if raw.get().contains("\\u0000") {
        let value: Value = serde_json::from_str(raw.get()).map_err(not_json)?;
        if has_nul(&value) {
            return Err(StepError::permanent(
                "the result contains the character U+0000, which PostgreSQL cannot store",
            )
            .with_type("ResultNotJson"));
        }
    }
    Ok(raw)
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

/// The end of an attempt whose result PostgreSQL refuses.
pub(super) fn refused_by_database(end: &AttemptEnd, reason: &str) -> AttemptEnd {
    let error = StepError::permanent(format!("PostgreSQL refused the result: {reason}"))
        .with_type("ResultNotStorable");
    let details = error.to_json();
    AttemptEnd {
        id: end.id,
        state: EndState::Error,
        result: storable(&details).ok().map(Json),
        duration_ms: end.duration_ms,
        metadata: json!({
            "reason": "permanent_error", "attempt": end.id.attempt, "error": details["error"],
        }),
    }
}

/// The result of an attempt that ended well, for the steps that depend on it.
pub(super) fn copied(result: Option<&Raw>) -> Option<Box<RawValue>> {
    result.map(|Json(raw)| raw.clone())
}

/// The end of an attempt whose template cannot be used.
pub(super) fn without_template(id: AttemptId, error: &StepError) -> AttemptEnd {
    let details = error.to_json();
    AttemptEnd {
        id,
        state: EndState::Error,
        result: storable(&details).ok().map(Json),
        duration_ms: 0,
        metadata: json!({
            "reason": "permanent_error", "attempt": id.attempt, "error": details["error"],
        }),
    }
}
