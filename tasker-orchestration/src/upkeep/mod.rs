//! Recurring work: returning the steps of lost workers, measuring the queue, deleting finished tasks,
//! and summing up analytics.

mod analytics;
mod queue;
mod retention;
mod slow_statement;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::SystemContext;
use tasker_shared::database::DatabaseError;
use tasker_shared::execution::{Failures, LostSteps};
use tasker_shared::metrics::Metric;
use tasker_shared::{database, execution};
use tokio::time::{Instant, sleep};

use crate::QUERY_LIMIT;

/// The interval at which the whole queue is read for claims of workers that are lost or unknown, from the
/// start on.
const SWEEP: Duration = Duration::from_secs(30);

/// Does the work, for ever. Workers return each other's steps, too.
pub async fn run(context: Arc<SystemContext>) {
    // Apart, because the steps of lost workers must not wait for the sums of an import.
    tokio::join!(keep_up(&context), analytics::run(context.database_pool()));
}

async fn keep_up(context: &SystemContext) {
    let config = &context.tasker_config.orchestration.upkeep;
    let interval = Duration::from_millis(config.interval_ms.into());
    let mut retention = retention::Retention::new(config.clone());
    let mut queue = queue::QueueWatch::new();
    let mut failures = Failures::default();
    let mut next_sweep = Instant::now();
    loop {
        sleep(interval.mul_f64(rand::random_range(0.75..1.25))).await;
        let pool = context.database_pool();
        let sweeps = next_sweep <= Instant::now();
        if sweeps {
            next_sweep = Instant::now() + SWEEP;
        }
        match requeue(pool, sweeps).await {
            Ok(()) => {
                if failures.end() {
                    tracing::info!("lost workers are looked for again");
                }
            }
            Err(error) if failures.begin() => {
                tracing::warn!(%error, "lost workers cannot be looked for");
            }
            Err(error) => tracing::debug!(%error, "lost workers still cannot be looked for"),
        }
        retention.run(pool).await;
        queue.run(pool).await;
    }
}

/// Returns the claims of lost workers, and those that `sweeps` finds, in as many statements as they need.
async fn requeue(pool: &PgPool, sweeps: bool) -> Result<(), DatabaseError> {
    for orphans in [false, true] {
        if orphans && !sweeps {
            break;
        }
        loop {
            let lost = database::run_idempotent(pool, QUERY_LIMIT, move |connection| {
                Box::pin(async move {
                    if orphans {
                        execution::requeue_orphans(connection).await
                    } else {
                        execution::requeue_lost(connection).await
                    }
                })
            });
            let steps = lost.await?;
            steps.report();
            if steps == LostSteps::default() {
                break;
            }
        }
    }
    Ok(())
}

/// Sets a metric that has the time of the last success.
fn note_success(metric: Metric) {
    let now = u32::try_from(chrono::Utc::now().timestamp()).unwrap_or(u32::MAX);
    metrics::gauge!(metric.name).set(now);
}
