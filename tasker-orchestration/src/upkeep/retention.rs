//! Deletes finished tasks after their time, and documents that nothing needs.

use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::config::tasker::UpkeepConfig;
use tasker_shared::database::{self, DatabaseError};
use tasker_shared::execution::Failures;
use tasker_shared::metrics::{RETENTION_LAST_SUCCESS, TASKS_RETAINED_DELETED};
use tokio::time::Instant;

use super::{note_success, slow_statement};

/// The longest that one batch may take.
const LIMIT: Duration = Duration::from_secs(9);
/// The pause after a batch that found nothing more to delete.
const PAUSE: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Retention {
    config: UpkeepConfig,
    /// The most tasks of the next batch. Fewer after a failure, because tasks can have many steps.
    batch: u32,
    next: Instant,
    failures: Failures,
}

impl Retention {
    pub(super) fn new(config: UpkeepConfig) -> Self {
        if config.retention_days > 0 {
            // Else no alert could tell that nothing was ever deleted.
            note_success(RETENTION_LAST_SUCCESS);
        }
        Self {
            batch: config.retention_batch,
            config,
            next: Instant::now(),
            failures: Failures::default(),
        }
    }

    /// Deletes one batch, if it is time for it.
    pub(super) async fn run(&mut self, pool: &PgPool) {
        if self.config.retention_days == 0 || Instant::now() < self.next {
            return;
        }
        match self.delete(pool).await {
            Ok(is_done) => {
                if self.failures.end() {
                    tracing::info!("finished tasks are deleted again");
                }
                note_success(RETENTION_LAST_SUCCESS);
                self.batch = self
                    .batch
                    .saturating_mul(2)
                    .min(self.config.retention_batch);
                if is_done {
                    self.next = Instant::now() + PAUSE;
                }
            }
            Err(error) => {
                if self.failures.begin() {
                    tracing::warn!(%error, "finished tasks cannot be deleted");
                }
                self.batch = (self.batch / 2).max(1);
                self.next = Instant::now() + PAUSE / 10;
            }
        }
    }

    /// Deletes a batch of tasks, or documents if it was the last. Returns whether it was.
    async fn delete(&self, pool: &PgPool) -> Result<bool, DatabaseError> {
        let days = i32::try_from(self.config.retention_days).unwrap_or(i32::MAX);
        let batch = i32::try_from(self.batch).unwrap_or(i32::MAX);
        let deleted = database::run_idempotent(pool, LIMIT, move |connection| {
            Box::pin(async move {
                sqlx::query_scalar::<_, i64>("SELECT tasker.retain($1, $2)")
                    .bind(days)
                    .bind(batch)
                    .fetch_one(connection)
                    .await
            })
        });
        let tasks = deleted.await?;
        metrics::counter!(TASKS_RETAINED_DELETED.name).increment(tasks.unsigned_abs());
        if tasks > 0 {
            tracing::info!(tasks, "finished tasks were deleted");
        }
        if tasks >= i64::from(batch) {
            return Ok(false);
        }
        slow_statement::select::<i64>(pool, "SELECT tasker.retain_documents()").await?;
        Ok(true)
    }
}
