//! The ends of attempts that are not recorded yet.

use tasker_shared::database::DatabaseError;
use tokio::time::Instant;
use uuid::Uuid;

use super::claimed::Pending;
use super::finish;
use super::link::is_refusal;

/// The most ends that one statement records.
const MAX_BATCH: usize = 500;
/// The refusals of an end after which an error is logged.
const MAX_REFUSALS: u32 = 5;
/// The most bytes of results that one statement records, unless a single result has more.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// Ends in the order in which they came.
#[derive(Default)]
pub(super) struct Unrecorded {
    waiting: Vec<Pending>,
    /// Ends that PostgreSQL refuses in every form or takes too long for, and those whose rows others have
    /// locked. They are tried again later, so that they hold up neither claims nor other ends.
    parked: Vec<Pending>,
}

impl Unrecorded {
    pub(super) fn push(&mut self, pending: Pending) {
        self.waiting.push(pending);
    }

    /// Returns whether PostgreSQL refuses all ends again and again, so that a drain need not wait for them.
    pub(super) fn are_refused(&self) -> bool {
        let refused = |pending: &Pending| pending.refusals >= MAX_REFUSALS;
        self.waiting.is_empty() && self.parked.iter().all(refused)
    }

    /// Returns whether no end can be recorded now.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the number of ends, set aside or not.
    pub(super) fn total(&self) -> usize {
        self.waiting.len() + self.parked.len()
    }

    /// Returns the number of ends that the next statement leaves, because they are too many or too large.
    pub(super) fn left(&self) -> usize {
        self.waiting.len() - self.batch().len()
    }

    /// Returns the number of ends that were set aside.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Returns the steps of all ends.
    pub(super) fn steps(&self) -> impl Iterator<Item = Uuid> {
        let ends = self.waiting.iter().chain(&self.parked);
        ends.map(|pending| pending.end.id.step_uuid)
    }

    /// Returns the ends that the next statement records.
    pub(super) fn batch(&self) -> &[Pending] {
        let mut bytes = 0;
        let fitting = self.waiting.iter().take(MAX_BATCH).take_while(|pending| {
            let result = pending.end.result.as_ref();
            bytes += result.map_or(0, |raw| raw.0.get().len());
            bytes <= MAX_BATCH_BYTES
        });
        let count = fitting.count().max(self.waiting.len().min(1));
        &self.waiting[..count]
    }

    /// Removes and returns the first `count` ends.
    pub(super) fn take(&mut self, count: usize) -> Vec<Pending> {
        self.waiting.drain(..count).collect()
    }

    /// Takes an end that was not recorded out of the way of the others. A result that `is_refused`
    /// becomes an error of the step, and an error one without details; other ends are tried again later.
    pub(super) fn set_aside(
        &mut self,
        mut pending: Pending,
        error: &DatabaseError,
        is_refused: bool,
    ) {
        let end = &mut pending.end;
        tracing::warn!(
            task_uuid = %end.id.task_uuid, step_uuid = %end.id.step_uuid, attempt = end.id.attempt,
            %error, "an end of a step was not recorded"
        );
        if is_refused {
            pending.refusals += 1;
            if pending.refusals == 1 {
                *end = finish::refused_by_database(end, &error.to_string());
                self.waiting.push(pending);
                return;
            }
            if pending.refusals == MAX_REFUSALS {
                tracing::error!(
                    task_uuid = %end.id.task_uuid, step_uuid = %end.id.step_uuid, attempt = end.id.attempt,
                    %error,
                    "an end of a step is refused again and again; the step stays in progress until the cause is gone or the worker drains"
                );
            }
        }
        self.parked.push(pending);
    }

    /// Sets ends aside that were not tried, before those that were.
    pub(super) fn park(&mut self, untried: impl IntoIterator<Item = Pending>) {
        self.parked.splice(0..0, untried);
    }

    /// Removes and returns the ends that were set aside and may be tried again, or all of them.
    pub(super) fn take_parked(&mut self, all: bool) -> Vec<Pending> {
        let now = Instant::now();
        let may_be_tried = |pending: &mut Pending| all || pending.not_before <= Some(now);
        self.parked.extract_if(.., may_be_tried).collect()
    }
}

/// Returns whether an error is about the values or rows of single ends.
pub(super) fn is_of_single_ends(error: &DatabaseError) -> bool {
    is_refusal(error) || error.is_lock_timeout()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use serde_json::value::RawValue;
    use sqlx::types::Json;
    use tasker_shared::execution::{AttemptEnd, AttemptId, EndState};
    use uuid::Uuid;

    use super::{MAX_BATCH, MAX_BATCH_BYTES, Unrecorded};
    use crate::execution::claimed::Pending;

    fn pending(bytes: usize) -> Pending {
        let result = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2)));
        Pending {
            end: AttemptEnd {
                id: AttemptId {
                    task_uuid: Uuid::nil(),
                    step_uuid: Uuid::now_v7(),
                    attempt: 1,
                },
                state: EndState::Complete,
                result: Some(Json(result.expect("it is JSON"))),
                duration_ms: 1,
                metadata: json!({}),
            },
            attempt: None,
            duration: Duration::ZERO,
            may_be_recorded: false,
            refusals: 0,
            not_before: None,
        }
    }

    fn of(sizes: impl IntoIterator<Item = usize>) -> Unrecorded {
        let mut ends = Unrecorded::default();
        for bytes in sizes {
            ends.push(pending(bytes));
        }
        ends
    }

    #[test]
    fn a_batch_is_bounded_by_number_and_by_bytes() {
        assert_eq!(of([]).batch().len(), 0);
        assert_eq!(of([10; MAX_BATCH + 1]).batch().len(), MAX_BATCH);
        let half = MAX_BATCH_BYTES / 2;
        assert_eq!(of([half, half, 2]).batch().len(), 2);
        assert_eq!(of([MAX_BATCH_BYTES + 1, 2]).batch().len(), 1);
        assert_eq!(of([MAX_BATCH_BYTES + 1, 2]).left(), 1);
    }

    #[test]
    fn ends_that_are_taken_are_gone() {
        let mut ends = of([2; 3]);
        assert_eq!(ends.take(2).len(), 2);
        assert_eq!(ends.total(), 1);
        assert_eq!(ends.steps().count(), 1);
    }
}
