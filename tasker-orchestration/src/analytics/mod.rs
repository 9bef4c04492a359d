//! Figures on finished tasks and on steps: their speed, their failures, and advice.
//!
//! PostgreSQL keeps sums by the hour (migration `0010`), which [`crate::upkeep`] moves on. An answer
//! is the sums and the rows that are not in them. After an import those may be too many to read; then it
//! is the sums alone, and counts the hours that they lack. [`AnalyticsCache`] keeps answers in the
//! distributed cache.

mod bottlenecks;
mod cached;
mod performance;
mod recommendations;

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool};
use tasker_shared::database::{self, DatabaseError};

pub(crate) use bottlenecks::BottleneckAnalysis;
pub(crate) use cached::{AnalyticsCache, CachedAnswer};
pub(crate) use performance::{PerformanceMetrics, performance};

/// The limit for computing one answer.
const LIMIT: Duration = Duration::from_secs(10);
/// PostgreSQL ends a statement that takes longer because rows are not summed yet.
const LIMIT_WITH_ROWS: &str = "SET LOCAL statement_timeout = '1s'";
/// The code of the error with which it ends it.
const QUERY_CANCELED: &str = "57014";

/// Computes the slowest steps and tasks, `limit` of each kind and of at least `min_executions`, and
/// the advice that follows.
pub(crate) async fn bottlenecks(
    pool: &PgPool,
    limit: u32,
    min_executions: u32,
) -> Result<BottleneckAnalysis, DatabaseError> {
    let mut analysis = bottlenecks::measure(pool, limit, min_executions).await?;
    analysis.recommendations = recommendations::of(&analysis);
    Ok(analysis)
}

/// Runs a query with the rows that are not summed yet; without them if reading them takes too long.
async fn run<T, F>(pool: &PgPool, query: F) -> Result<T, DatabaseError>
where
    T: Send,
    F: for<'c> Fn(&'c mut PgConnection, bool) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    F: Copy + Send + Sync + 'static,
{
    let whole = database::run_idempotent(pool, LIMIT, move |connection| {
        Box::pin(async move {
            let mut transaction = connection.begin().await?;
            sqlx::query(LIMIT_WITH_ROWS)
                .execute(&mut *transaction)
                .await?;
            let answer = query(&mut transaction, true).await?;
            transaction.commit().await?;
            Ok(answer)
        })
    });
    match whole.await {
        Err(error) if error.sqlstate().as_deref() == Some(QUERY_CANCELED) => {
            database::run_idempotent(pool, LIMIT, move |connection| query(connection, false)).await
        }
        answer => answer,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tasks are below 2^52")]
fn float(count: i64) -> f64 {
    count as f64
}

/// Returns `part` of `whole`, from 0 to 1; 0 of nothing.
fn share(part: i64, whole: i64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        (float(part) / float(whole) * 10_000.0).round() / 10_000.0
    }
}

/// Returns `sum` divided by `count`, with six decimals; 0 without a count.
fn mean(sum: f64, count: i64) -> f64 {
    if count == 0 {
        0.0
    } else {
        (sum / float(count) * 1_000_000.0).round() / 1_000_000.0
    }
}
