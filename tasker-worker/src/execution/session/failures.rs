//! Statements that failed: they took too long, met locked rows, or had a result that PostgreSQL refuses.

use std::collections::HashMap;

use chrono::Utc;
use sqlx::Connection;
use tasker_shared::database::DatabaseError;
use tasker_shared::execution;
use tokio::time::{Instant, sleep};

use super::{LAST_PAUSE, Session, after_sweep};
use crate::execution::claimed::Pending;
use crate::execution::link::{STATEMENT_LIMIT, is_locked, may_have_taken_effect};
use crate::execution::unrecorded::is_of_single_ends;

/// The longest that a single end waits for rows that others have locked. All else waits for it.
const LOCK_TIMEOUT: &str = "200ms";

impl Session {
    /// Reads less of the queue after a claim was cancelled because it took too long. That happens
    /// while a forgotten transaction keeps millions of dead rows.
    pub(super) fn narrow(&mut self, started: Instant, want: i32) {
        if let Some(bounds) = self.before_sweep.take() {
            self.bounds = bounds;
            self.next_sweep = after_sweep(started);
        } else {
            self.bounds.narrow(Utc::now());
        }
        tracing::warn!(
            want,
            "a claim took too long; the next ones read less of the queue and take fewer steps"
        );
    }

    /// Deals with a statement that failed, whether or not it took effect.
    pub(super) async fn failed(
        &mut self,
        error: &DatabaseError,
        batch: usize,
        drained_by: Option<Instant>,
    ) {
        self.measure();
        if may_have_taken_effect(error) {
            self.uncertain_until = Some(Instant::now() + STATEMENT_LIMIT);
        }
        // One result that PostgreSQL refuses must not hold up the others.
        if batch > 0 && is_of_single_ends(error) {
            let ends = self.unrecorded.take(batch);
            self.one_by_one(ends, drained_by).await;
            return;
        }
        if self.statement_failures.begin() {
            tracing::warn!(%error, results = batch, "a statement of the worker failed; trying again");
        } else {
            tracing::debug!(%error, results = batch, "a statement of the worker failed again");
        }
        sleep(self.pause.mul_f64(rand::random_range(0.5..1.0))).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    /// Records ends one at a time, without a claim, which may be the cause as well.
    /// Waits for rows that others have locked only for a moment, and for those of one task only once.
    /// Stops when the worker begins to drain, and when that has had its time.
    pub(super) async fn one_by_one(&mut self, ends: Vec<Pending>, drained_by: Option<Instant>) {
        let (worker, scope) = (self.worker, self.shared.scope.clone());
        let draining = self.shared.draining.clone();
        let is_over =
            || drained_by.map_or_else(|| draining.is_cancelled(), |by| by <= Instant::now());
        let mut locked = HashMap::new();
        for ended in ends {
            if is_over() {
                self.unrecorded.push(ended);
                continue;
            }
            let task = ended.end.id.task_uuid;
            if let Some(error) = locked.get(&task) {
                self.set_aside(ended, error).await;
                continue;
            }
            let answer = self.link.run(async |connection| {
                let mut transaction = connection.begin().await?;
                let limit = sqlx::query("SELECT set_config('lock_timeout', $1, true)");
                limit.bind(LOCK_TIMEOUT).execute(&mut *transaction).await?;
                let ends = [&ended.end];
                let rows =
                    execution::complete(&mut transaction, worker, &ends, 0, &scope, None).await?;
                transaction.commit().await?;
                Ok(rows)
            });
            match answer.await {
                Ok(rows) => self.receive(rows, &[ended], 0, false),
                Err(error) if is_of_single_ends(&error) => {
                    self.set_aside(ended, &error).await;
                    if is_locked(&error) {
                        locked.insert(task, error);
                    }
                }
                Err(error) => {
                    if may_have_taken_effect(&error) {
                        self.uncertain_until = Some(Instant::now() + STATEMENT_LIMIT);
                    }
                    self.unrecorded.push(ended);
                }
            }
        }
    }

    /// Sets an end aside. One that PostgreSQL refuses again and again is dropped, and its step runs again as
    /// another attempt that does not count.
    async fn set_aside(&mut self, ended: Pending, error: &DatabaseError) {
        let Some(refused) = self.unrecorded.set_aside(ended, error) else {
            return;
        };
        let (worker, id) = (self.worker, refused.end.id);
        let returned = self
            .link
            .run(async |connection| execution::give_back(connection, worker, id).await);
        let returned = returned.await;
        let is_returned = matches!(returned, Ok(true));
        tracing::error!(
            task_uuid = %id.task_uuid, step_uuid = %id.step_uuid, attempt = id.attempt,
            %error, is_returned, not_returned = returned.err().map(tracing::field::display),
            "an end of a step is refused again and again; its claim is returned, so that the step runs again"
        );
        if !is_returned {
            self.unrecorded.park(refused);
        }
    }
}
