//! Deletes finished tasks after their time, and documents that nothing needs.

use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::config::tasker::UpkeepConfig;
use tasker_shared::database;
use tasker_shared::execution::Failures;
use tasker_shared::metrics::{RETENTION_LAST_SUCCESS, TASKS_RETAINED_DELETED};
use tokio::time::Instant;

/// The longest that one batch may take.
const LIMIT: Duration = Duration::from_secs(9);
/// The pause after a batch that found nothing more to delete.
const PAUSE: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Retention {
    config: UpkeepConfig,
    next: Instant,
    failures: Failures,
}

impl Retention {
    pub(super) fn new(config: UpkeepConfig) -> Self {
        Self {
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
        let days = i32::try_from(self.config.retention_days).unwrap_or(i32::MAX);
        let batch = i32::try_from(self.config.retention_batch).unwrap_or(i32::MAX);
        let deleted = database::run_idempotent(pool, LIMIT, |connection| {
            Box::pin(async move {
                sqlx::query_scalar::<_, i64>("SELECT tasker.retain($1, $2)")
                    .bind(days)
                    .bind(batch)
                    .fetch_one(connection)
                    .await
            })
        });
        match deleted.await {
            Ok(tasks) => {
                if self.failures.end() {
                    tracing::info!("finished tasks are deleted again");
                }
                metrics::counter!(TASKS_RETAINED_DELETED.name).increment(tasks.unsigned_abs());
                let now = u32::try_from(chrono::Utc::now().timestamp()).unwrap_or(u32::MAX);
                metrics::gauge!(RETENTION_LAST_SUCCESS.name).set(now);
                if tasks > 0 {
                    tracing::info!(tasks, "finished tasks were deleted");
                }
                if tasks < i64::from(batch) {
                    self.next = Instant::now() + PAUSE;
                }
            }
            Err(error) => {
                if self.failures.begin() {
                    tracing::warn!(%error, "finished tasks cannot be deleted");
                }
                self.next = Instant::now() + PAUSE / 10;
            }
        }
    }
}
