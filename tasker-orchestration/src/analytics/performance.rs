//! Speed and failures of all tasks of a period.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgPool};
use tasker_shared::database::DatabaseError;
use utoipa::ToSchema;

use super::{float, mean, share};

/// Speed and failures of all tasks of a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PerformanceMetrics {
    /// Tasks that ended in the period, and active ones.
    total_tasks: i64,
    /// Tasks that have not ended: a step of theirs runs or waits.
    active_tasks: i64,
    /// Tasks that became complete in the period.
    completed_tasks: i64,
    /// Tasks that ended as `error` in the period.
    failed_tasks: i64,
    /// Complete tasks of all that ended, from 0 to 1.
    completion_rate: f64,
    /// Failed tasks of all that ended, from 0 to 1.
    error_rate: f64,
    /// Mean time from creation to completion of the completed tasks.
    average_task_duration_seconds: f64,
    /// Mean time that an attempt of a step took.
    average_step_duration_seconds: f64,
    /// Tasks that ended, by the hour.
    tasks_per_hour: f64,
    /// Attempts of steps that ended, by the hour.
    steps_per_hour: f64,
    /// `1 - error_rate`; half of that while steps wait and no worker lives. From 0 to 1.
    system_health_score: f64,
    /// Begin of the period: a full hour.
    analysis_period_start: DateTime<Utc>,
    /// The time at which PostgreSQL computed the figures.
    calculated_at: DateTime<Utc>,
    /// Hours of the period that the figures lack, wholly or in part. Above 0 if the rows that are not summed
    /// yet could not be read within a second: after an import, or on a machine that is too busy.
    missing_hours: i64,
}

#[derive(Debug, FromRow)]
struct Row {
    begins: DateTime<Utc>,
    now: DateTime<Utc>,
    active: i64,
    waiting: i64,
    live_workers: i64,
    ended: i64,
    completed: i64,
    failed: i64,
    duration_us: f64,
    attempts: i64,
    timed: i64,
    duration_ms: i64,
    missing_hours: i64,
}

/// Computes the figures of the last `hours` hours, and of the hour that was under way when they began.
pub(crate) async fn performance(
    pool: &PgPool,
    hours: u32,
) -> Result<PerformanceMetrics, DatabaseError> {
    let row: Row = super::run(pool, move |connection, with_rows| {
        Box::pin(async move {
            sqlx::query_as(
                "WITH period AS MATERIALIZED (
                     SELECT clock_timestamp() AS now,
                            date_trunc('hour', now() - $1 * interval '1 hour', 'UTC') AS begins
                 )
                 SELECT period.begins, period.now, queue.active, queue.waiting,
                        (SELECT count(*) FROM tasker.workers w WHERE w.lost_at IS NULL
                             AND w.seen_at >= now() - w.lease_seconds * interval '1 second')
                            AS live_workers,
                        t.ended, t.completed, t.failed, t.duration_us,
                        s.attempts, s.timed, s.duration_ms,
                        CASE WHEN $2 THEN 0 ELSE
                            (SELECT count(DISTINCT hour) FROM tasker.analytics_dirty WHERE hour >= period.begins)
                            + (SELECT ceil(greatest(extract(epoch FROM now() - greatest(rolled_to, period.begins)), 0)
                                           / 3600)::bigint FROM tasker.analytics_progress)
                        END AS missing_hours
                 FROM period,
                 (SELECT count(DISTINCT task_uuid) AS active,
                         count(*) FILTER (WHERE claimed_by IS NULL AND due_at <= now()) AS waiting
                  FROM tasker.step_queue) queue,
                 (SELECT coalesce(sum(ended), 0)::bigint AS ended,
                         coalesce(sum(completed), 0)::bigint AS completed,
                         coalesce(sum(failed), 0)::bigint AS failed,
                         coalesce(sum(duration_us), 0)::float8 AS duration_us
                  FROM (SELECT * FROM tasker.analytics_tasks_since((SELECT begins FROM period))
                        WHERE $2
                        UNION ALL
                        SELECT * FROM tasker.analytics_tasks
                        WHERE NOT $2 AND hour >= (SELECT begins FROM period)) sums) t,
                 (SELECT coalesce(sum(attempts), 0)::bigint AS attempts,
                         coalesce(sum(timed), 0)::bigint AS timed,
                         coalesce(sum(duration_ms), 0)::bigint AS duration_ms
                  FROM (SELECT * FROM tasker.analytics_steps_since((SELECT begins FROM period))
                        WHERE $2
                        UNION ALL
                        SELECT * FROM tasker.analytics_steps
                        WHERE NOT $2 AND hour >= (SELECT begins FROM period)) sums) s",
            )
            .bind(f64::from(hours))
            .bind(with_rows)
            .fetch_one(connection)
            .await
        })
    })
    .await?;
    Ok(PerformanceMetrics::new(&row))
}

impl PerformanceMetrics {
    fn new(row: &Row) -> Self {
        let error_rate = share(row.failed, row.ended);
        let health = 1.0 - error_rate;
        let seconds = (row.now - row.begins).num_milliseconds();
        let hours = float(seconds) / 3_600_000.0;
        let per_hour = |count: i64| (float(count) / hours * 100.0).round() / 100.0;
        Self {
            total_tasks: row.active + row.ended,
            active_tasks: row.active,
            completed_tasks: row.completed,
            failed_tasks: row.failed,
            completion_rate: share(row.completed, row.ended),
            error_rate,
            average_task_duration_seconds: mean(row.duration_us / 1_000_000.0, row.completed),
            average_step_duration_seconds: mean(float(row.duration_ms) / 1_000.0, row.timed),
            tasks_per_hour: per_hour(row.ended),
            steps_per_hour: per_hour(row.attempts),
            system_health_score: if row.waiting > 0 && row.live_workers == 0 {
                health / 2.0
            } else {
                health
            },
            analysis_period_start: row.begins,
            calculated_at: row.now,
            missing_hours: row.missing_hours,
        }
    }
}
