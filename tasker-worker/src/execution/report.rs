//! Counts and logs the ends of attempts when it is known whether they were recorded.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tasker_shared::execution::{AttemptEnd, AttemptId, EndState};
use tasker_shared::metrics::{STEP_ATTEMPTS, STEP_DURATION, STEP_RESULTS_REFUSED};

use super::attempt::NOT_COMMITTED;
use super::claimed::{Attempt, Pending};

/// Reports the ends that a statement had, of which it refused those in `refused`. Unless it
/// `is_certain`, an answer was lost, and the refused ones may have been recorded before.
pub(super) fn report(ends: &[Pending], refused: &[AttemptId], is_certain: bool) {
    for pending in ends {
        let (end, attempt) = (&pending.end, pending.attempt.as_deref());
        if !refused.contains(&end.id) {
            recorded(attempt, end, pending.duration);
        } else if pending.may_be_recorded {
            complete(attempt, end.id, pending.duration);
            failed_later(attempt, end);
        } else if is_certain {
            late(attempt, end.id);
        } else {
            recorded(attempt, end, pending.duration);
        }
    }
}

/// Counts and logs an end that was recorded. The error's message is left out, because it may quote
/// data.
pub(super) fn recorded(attempt: Option<&Attempt>, end: &AttemptEnd, duration: Duration) {
    let task_uuid = end.id.task_uuid;
    let correlation_id = attempt.map(|attempt| attempt.task.correlation_id.to_string());
    let step = attempt.map(|attempt| &*attempt.name);
    let reason = end.metadata["reason"].as_str().unwrap_or_default();
    let error = end.metadata["error"]["type"].as_str().unwrap_or_default();
    match end.state {
        EndState::Complete => complete(attempt, end.id, duration),
        EndState::Retry(pause_ms) => {
            count("retry", duration);
            tracing::info!(
                %task_uuid, step, attempt = end.id.attempt, correlation_id, reason, error, pause_ms,
                "an attempt failed; the step runs again"
            );
        }
        EndState::Error => {
            count("error", duration);
            tracing::warn!(
                %task_uuid, step, step_uuid = %end.id.step_uuid, attempt = end.id.attempt,
                correlation_id, reason, error, "a step failed for good"
            );
        }
    }
}

fn complete(attempt: Option<&Attempt>, id: AttemptId, duration: Duration) {
    count("complete", duration);
    tracing::debug!(
        task_uuid = %id.task_uuid,
        step = attempt.map(|attempt| &*attempt.name),
        attempt = id.attempt,
        correlation_id = attempt.map(|attempt| attempt.task.correlation_id.to_string()),
        "a step is complete"
    );
}

/// Logs the failure of a handler after the commit of its own transaction, which completed the step.
fn failed_later(attempt: Option<&Attempt>, end: &AttemptEnd) {
    let error = end.metadata["error"]["type"].as_str().unwrap_or_default();
    let by_itself = attempt.is_some_and(|attempt| attempt.completed.load(Ordering::Relaxed));
    // A handler that returns the outcome of `complete_in` has that error until it is refused.
    if !by_itself || end.state == EndState::Complete || error == NOT_COMMITTED {
        return;
    }
    tracing::warn!(
        task_uuid = %end.id.task_uuid,
        step = attempt.map(|attempt| &*attempt.name),
        attempt = end.id.attempt,
        correlation_id = attempt.map(|attempt| attempt.task.correlation_id.to_string()),
        error,
        "a handler failed after its own transaction had completed the step, which stays complete"
    );
}

fn late(attempt: Option<&Attempt>, id: AttemptId) {
    metrics::counter!(STEP_RESULTS_REFUSED.name).increment(1);
    tracing::warn!(
        task_uuid = %id.task_uuid,
        step = attempt.map(|attempt| &*attempt.name),
        attempt = id.attempt,
        correlation_id = attempt.map(|attempt| attempt.task.correlation_id.to_string()),
        "a late result was refused, because the claim was lost or the task had ended"
    );
}

fn count(result: &'static str, duration: Duration) {
    metrics::counter!(STEP_ATTEMPTS.name, "result" => result).increment(1);
    metrics::histogram!(STEP_DURATION.name, "result" => result).record(duration);
}
