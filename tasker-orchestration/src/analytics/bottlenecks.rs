//! The slowest steps and tasks of the last day.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection, PgPool};
use tasker_shared::database::DatabaseError;
use utoipa::ToSchema;

use super::{float, mean, share};

/// The slowest steps and tasks of the last day, the use of resources, and advice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct BottleneckAnalysis {
    /// The steps with the longest attempts, the slowest first.
    pub(super) slow_steps: Vec<SlowStep>,
    /// The templates with the longest tasks, the slowest first.
    pub(super) slow_tasks: Vec<SlowTask>,
    /// The use of workers, of the queue and of this process's connections.
    pub(super) resource_utilization: ResourceUtilization,
    /// Sentences for operators.
    pub(super) recommendations: Vec<String>,
    /// Begin of the period: a full hour.
    analysis_period_start: DateTime<Utc>,
    /// The time at which PostgreSQL computed the figures.
    calculated_at: DateTime<Utc>,
    /// Hours of the period that the lists lack, wholly or in part. Above 0 if the rows that are not summed
    /// yet could not be read within a second: after an import, or on a machine that is too busy.
    pub(super) missing_hours: i64,
}

/// A step of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SlowStep {
    pub(super) namespace_name: String,
    pub(super) task_name: String,
    pub(super) version: String,
    pub(super) step_name: String,
    /// Mean time that an attempt took.
    pub(super) average_duration_seconds: f64,
    /// The longest attempt.
    pub(super) max_duration_seconds: f64,
    /// Attempts.
    pub(super) execution_count: i64,
    /// Attempts that failed.
    pub(super) error_count: i64,
    /// Failed attempts of all, from 0 to 1.
    pub(super) error_rate: f64,
    /// The end of the last attempt.
    pub(super) last_executed_at: DateTime<Utc>,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct SlowTask {
    pub(super) namespace_name: String,
    pub(super) task_name: String,
    pub(super) version: String,
    /// Mean time from creation to completion.
    pub(super) average_duration_seconds: f64,
    /// The longest such time.
    pub(super) max_duration_seconds: f64,
    /// Tasks that ended.
    pub(super) execution_count: i64,
    /// Tasks that ended as `error`.
    pub(super) error_count: i64,
    /// Failed tasks of all that ended, from 0 to 1.
    pub(super) error_rate: f64,
    /// The end of the last task.
    pub(super) last_executed_at: DateTime<Utc>,
}

/// The use of workers, of the queue and of this process's connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ResourceUtilization {
    /// Connections of this process that are in use, of the most that it may open, from 0 to 1.
    pub(super) database_pool_utilization: f64,
    /// Workers whose lease holds.
    pub(super) live_workers: i64,
    /// Steps that those can run at once.
    pub(super) worker_capacity: i64,
    /// Steps that run of those, from 0 to 1, at the workers' last heartbeats.
    pub(super) worker_utilization: f64,
    /// Steps that could run now and wait for a worker.
    pub(super) waiting_steps: i64,
    /// The age of the oldest of those.
    pub(super) oldest_waiting_seconds: f64,
}

#[derive(Debug, FromRow)]
struct StepRow {
    namespace: String,
    task: String,
    version: String,
    step: String,
    attempts: i64,
    failures: i64,
    timed: i64,
    duration_ms: i64,
    max_duration_ms: i64,
    last_at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
struct TaskRow {
    namespace: String,
    task: String,
    version: String,
    ended: i64,
    completed: i64,
    failed: i64,
    duration_us: f64,
    max_duration_us: i64,
    last_at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
struct UseRow {
    begins: DateTime<Utc>,
    now: DateTime<Utc>,
    live_workers: i64,
    capacity: i64,
    running: i64,
    waiting: i64,
    oldest: f64,
    missing_hours: i64,
}

/// Computes the analysis without recommendations: `limit` rows of each kind, of at least `min_executions`.
pub(super) async fn measure(
    pool: &PgPool,
    limit: u32,
    min_executions: u32,
) -> Result<BottleneckAnalysis, DatabaseError> {
    let (least, limit) = (i64::from(min_executions), i64::from(limit));
    let (steps, tasks, used) = super::run(pool, move |connection, with_rows| {
        Box::pin(async move {
            Ok((
                slow_steps(connection, limit, least, with_rows).await?,
                slow_tasks(connection, limit, least, with_rows).await?,
                utilization(connection, with_rows).await?,
            ))
        })
    })
    .await?;
    let in_use = pool
        .size()
        .saturating_sub(u32::try_from(pool.num_idle()).unwrap_or(0));
    let most = pool.options().get_max_connections();
    Ok(BottleneckAnalysis {
        slow_steps: steps.into_iter().map(SlowStep::from).collect(),
        slow_tasks: tasks.into_iter().map(SlowTask::from).collect(),
        resource_utilization: ResourceUtilization {
            database_pool_utilization: share(in_use.into(), most.into()),
            live_workers: used.live_workers,
            worker_capacity: used.capacity,
            worker_utilization: share(used.running, used.capacity),
            waiting_steps: used.waiting,
            oldest_waiting_seconds: used.oldest,
        },
        recommendations: Vec::new(),
        analysis_period_start: used.begins,
        calculated_at: used.now,
        missing_hours: used.missing_hours,
    })
}

async fn slow_steps(
    connection: &mut PgConnection,
    limit: i64,
    least: i64,
    with_rows: bool,
) -> Result<Vec<StepRow>, sqlx::Error> {
    sqlx::query_as(
        "WITH steps AS (
             SELECT named_task_uuid, named_step_uuid, sum(attempts)::bigint AS attempts,
                    sum(failures)::bigint AS failures, sum(timed)::bigint AS timed,
                    sum(duration_ms)::bigint AS duration_ms,
                    max(max_duration_ms) AS max_duration_ms, max(last_at) AS last_at
             FROM (SELECT * FROM tasker.analytics_steps_since(
                       date_trunc('hour', now() - interval '24 hours', 'UTC'))
                   WHERE $3
                   UNION ALL
                   SELECT * FROM tasker.analytics_steps
                   WHERE NOT $3
                       AND hour >= date_trunc('hour', now() - interval '24 hours', 'UTC')) sums
             GROUP BY named_task_uuid, named_step_uuid
             HAVING sum(attempts) >= $2
             ORDER BY sum(duration_ms)::float8 / greatest(sum(timed), 1) DESC,
                      named_task_uuid, named_step_uuid
             LIMIT $1
         )
         SELECT n.name AS namespace, t.name AS task, t.version, s.name AS step, k.attempts,
                k.failures, k.timed, k.duration_ms, k.max_duration_ms, k.last_at
         FROM steps k
         JOIN tasker.named_tasks t USING (named_task_uuid)
         JOIN tasker.task_namespaces n USING (task_namespace_uuid)
         JOIN tasker.named_steps s ON s.named_step_uuid = k.named_step_uuid
         ORDER BY k.duration_ms::float8 / greatest(k.timed, 1) DESC, 1, 2, 3, 4",
    )
    .bind(limit)
    .bind(least)
    .bind(with_rows)
    .fetch_all(connection)
    .await
}

async fn slow_tasks(
    connection: &mut PgConnection,
    limit: i64,
    least: i64,
    with_rows: bool,
) -> Result<Vec<TaskRow>, sqlx::Error> {
    sqlx::query_as(
        "WITH tasks AS (
             SELECT named_task_uuid, sum(ended)::bigint AS ended,
                    sum(completed)::bigint AS completed, sum(failed)::bigint AS failed,
                    sum(duration_us)::float8 AS duration_us,
                    max(max_duration_us) AS max_duration_us, max(last_at) AS last_at
             FROM (SELECT * FROM tasker.analytics_tasks_since(
                       date_trunc('hour', now() - interval '24 hours', 'UTC'))
                   WHERE $3
                   UNION ALL
                   SELECT * FROM tasker.analytics_tasks
                   WHERE NOT $3
                       AND hour >= date_trunc('hour', now() - interval '24 hours', 'UTC')) sums
             GROUP BY named_task_uuid
             HAVING sum(ended) >= $2
             ORDER BY sum(duration_us)::float8 / greatest(sum(completed), 1) DESC, named_task_uuid
             LIMIT $1
         )
         SELECT n.name AS namespace, t.name AS task, t.version, k.ended, k.completed, k.failed,
                k.duration_us, k.max_duration_us, k.last_at
         FROM tasks k
         JOIN tasker.named_tasks t USING (named_task_uuid)
         JOIN tasker.task_namespaces n USING (task_namespace_uuid)
         ORDER BY k.duration_us / greatest(k.completed, 1) DESC, 1, 2, 3",
    )
    .bind(limit)
    .bind(least)
    .bind(with_rows)
    .fetch_all(connection)
    .await
}

async fn utilization(
    connection: &mut PgConnection,
    with_rows: bool,
) -> Result<UseRow, sqlx::Error> {
    sqlx::query_as(
        "SELECT period.begins, clock_timestamp() AS now, w.live_workers, w.capacity, w.running,
                q.waiting, q.oldest,
                CASE WHEN $1 THEN 0 ELSE
                    (SELECT count(DISTINCT hour) FROM tasker.analytics_dirty WHERE hour >= period.begins)
                    + (SELECT ceil(greatest(extract(epoch FROM now() - greatest(rolled_to, period.begins)), 0)
                                   / 3600)::bigint FROM tasker.analytics_progress)
                END AS missing_hours
         FROM (SELECT date_trunc('hour', now() - interval '24 hours', 'UTC') AS begins) period,
              (SELECT count(*) AS live_workers, coalesce(sum(capacity), 0)::bigint AS capacity,
                      coalesce(sum(running), 0)::bigint AS running
               FROM tasker.workers WHERE lost_at IS NULL
                   AND seen_at >= now() - lease_seconds * interval '1 second') w,
              (SELECT count(*) AS waiting,
                      coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8 AS oldest
               FROM tasker.step_queue WHERE claimed_by IS NULL AND due_at <= now()) q",
    )
    .bind(with_rows)
    .fetch_one(connection)
    .await
}

impl From<StepRow> for SlowStep {
    fn from(row: StepRow) -> Self {
        Self {
            namespace_name: row.namespace,
            task_name: row.task,
            version: row.version,
            step_name: row.step,
            average_duration_seconds: mean(float(row.duration_ms) / 1_000.0, row.timed),
            max_duration_seconds: float(row.max_duration_ms) / 1_000.0,
            execution_count: row.attempts,
            error_count: row.failures,
            error_rate: share(row.failures, row.attempts),
            last_executed_at: row.last_at,
        }
    }
}

impl From<TaskRow> for SlowTask {
    fn from(row: TaskRow) -> Self {
        Self {
            namespace_name: row.namespace,
            task_name: row.task,
            version: row.version,
            average_duration_seconds: mean(row.duration_us / 1_000_000.0, row.completed),
            max_duration_seconds: float(row.max_duration_us) / 1_000_000.0,
            execution_count: row.ended,
            error_count: row.failed,
            error_rate: share(row.failed, row.ended),
            last_executed_at: row.last_at,
        }
    }
}
