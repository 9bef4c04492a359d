//! Statements that failed: they took too long, met locked rows, or had a result that PostgreSQL refuses.

use std::collections::HashMap;
use std::time::Duration;

use chrono::Utc;
use sqlx::Connection;
use tasker_shared::database::DatabaseError;
use tasker_shared::execution;
use tokio::time::{Instant, sleep};

use super::{LAST_PAUSE, RETRY, RETRY_SOON, Session, after_sweep};
use crate::execution::claimed::Pending;
use crate::execution::link::{
    STATEMENT_LIMIT, exceeds_a_limit, is_refusal, is_too_slow, may_have_taken_effect,
};
use crate::execution::unrecorded::is_of_single_ends;

/// The longest that a single end waits for rows that others have locked.
const LOCK_TIMEOUT: &str = "200ms";
/// The longest that ends are recorded one at a time, because all else waits for it.
const PASS: Duration = Duration::from_secs(1);

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

    /// Deals with a statement with `batch` ends and a claim of `want` steps that failed, whether or not it
    /// took effect.
    pub(super) async fn failed(
        &mut self,
        error: &DatabaseError,
        batch: usize,
        want: i32,
        drained_by: Option<Instant>,
    ) {
        self.measure();
        if may_have_taken_effect(error) {
            self.uncertain_until = Some(Instant::now() + STATEMENT_LIMIT);
        }
        // One result that PostgreSQL refuses must not hold up the others, nor may ends that only together
        // take too long hold up all. PostgreSQL cancels those before the answer is late.
        if batch > 0 && (is_of_single_ends(error) || (want == 0 && is_too_slow(error))) {
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
    /// Stops after a while, when the worker begins to drain, and when that has had its time; the ends that
    /// are left are tried soon. One that took too long by itself is tried again later.
    pub(super) async fn one_by_one(&mut self, ends: Vec<Pending>, drained_by: Option<Instant>) {
        let (worker, scope) = (self.worker, self.shared.scope.clone());
        let draining = self.shared.draining.clone();
        let pass = Instant::now() + PASS;
        let by = drained_by.map_or(pass, |by| by.min(pass));
        let is_over = || by <= Instant::now() || (drained_by.is_none() && draining.is_cancelled());
        let mut locked = HashMap::new();
        let mut ends = ends.into_iter();
        while !is_over()
            && let Some(mut ended) = ends.next()
        {
            let task = ended.end.id.task_uuid;
            if let Some(error) = locked.get(&task) {
                self.unrecorded.set_aside(ended, error, false);
                continue;
            }
            let mut commit_sent = false;
            let answer = self.link.run(async |connection| {
                let mut transaction = connection.begin().await?;
                let limit = sqlx::query("SELECT set_config('lock_timeout', $1, true)");
                limit.bind(LOCK_TIMEOUT).execute(&mut *transaction).await?;
                let ends = [&ended.end];
                let rows =
                    execution::complete(&mut transaction, worker, &ends, 0, &scope, None).await?;
                commit_sent = true;
                transaction.commit().await?;
                Ok(rows)
            });
            match answer.await {
                Ok(rows) => self.receive(rows, &[ended], 0, false),
                Err(error) if is_of_single_ends(&error) || is_too_slow(&error) => {
                    if is_too_slow(&error) {
                        ended.not_before = Some(Instant::now() + RETRY);
                    }
                    // A commit also fails because the queue of notifications is full.
                    let is_full = commit_sent && exceeds_a_limit(&error);
                    self.unrecorded
                        .set_aside(ended, &error, is_refusal(&error) && !is_full);
                    if error.is_lock_timeout() {
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
        let is_soon = drained_by.is_some() || ends.len() > 0;
        self.unrecorded.park(ends);
        if self.unrecorded.parked() > 0 {
            let retry = Instant::now() + if is_soon { RETRY_SOON } else { RETRY };
            self.next_retry = Some(self.next_retry.map_or(retry, |next| next.min(retry)));
        }
    }
}
