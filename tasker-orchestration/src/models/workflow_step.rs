//! Rows of `tasker.named_steps`, `tasker.workflow_steps` and their edges.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

/// A step of a task.
// As [`STEP`] returns it. Values of templates and handlers stay text, because nobody reads them on their way.
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "each is a column that clients know by its name"
)]
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct WorkflowStep {
    /// The step's own id.
    pub(crate) workflow_step_uuid: Uuid,
    /// The task that it belongs to.
    pub(crate) task_uuid: Uuid,
    /// Its name in the template.
    pub(crate) name: String,
    /// Its current state, such as `pending`.
    pub(crate) current_state: String,
    /// The same as `current_state`.
    pub(crate) status: String,
    /// Names of the steps that must be complete before this step starts.
    pub(crate) dependencies: Vec<String>,
    /// True if a failed attempt is retried.
    pub(crate) retryable: bool,
    /// The most attempts, the first one included.
    pub(crate) max_attempts: Option<i32>,
    /// Attempts so far.
    pub(crate) attempts: i32,
    /// Time of the last attempt.
    pub(crate) last_attempted_at: Option<DateTime<Utc>>,
    /// Seconds that the handler asked to wait before the next attempt.
    pub(crate) backoff_request_seconds: Option<i32>,
    /// True while a worker runs it.
    pub(crate) in_process: bool,
    /// True once it is complete.
    pub(crate) processed: bool,
    /// Time of completion.
    pub(crate) processed_at: Option<DateTime<Utc>>,
    /// The step's input beside the task's context.
    #[schema(value_type = Option<Object>)]
    pub(crate) inputs: Option<Box<RawValue>>,
    /// The handler's result.
    #[schema(value_type = Option<Value>)]
    pub(crate) results: Option<Box<RawValue>>,
    /// Higher runs earlier.
    pub(crate) priority: i32,
    /// Time of creation.
    pub(crate) created_at: DateTime<Utc>,
    /// The name under which workers know its handler.
    pub(crate) callable: Option<String>,
    /// The worker that runs it now.
    pub(crate) claimed_by: Option<Uuid>,
    /// When it runs again, if it waits for that.
    pub(crate) next_retry_at: Option<DateTime<Utc>>,
    /// The number of steps that it depends on.
    pub(crate) total_parents: i64,
    /// The number of those that are complete.
    pub(crate) completed_parents: i64,
    /// All of them are complete.
    pub(crate) dependencies_satisfied: bool,
    /// It can be claimed now.
    pub(crate) ready_for_execution: bool,
    /// It failed and will run again.
    pub(crate) retry_eligible: bool,
    /// The checkpoint that its handler saved last.
    #[schema(value_type = Option<Object>)]
    pub(crate) checkpoint: Option<Box<RawValue>>,
    /// True if `inputs`, `results` and `checkpoint` are left out of a list, because those of the steps up to
    /// this one have more than 4 MiB. Read the step itself to get them. Absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) values_left_out: bool,
}

/// The most bytes of `inputs`, `results` and `checkpoint` in a list of steps.
pub(crate) const MAX_VALUES: i64 = 4 * 1024 * 1024;

/// Selects the steps of `$page` as JSON, oldest first. `$page` selects rows of `tasker.workflow_steps` and
/// `fits`: whether the values are included.
macro_rules! steps_of {
    ($page:literal) => {
        concat!(
            "SELECT row_to_json(v) AS step
             FROM (
                 SELECT s.workflow_step_uuid, s.task_uuid, n.name, c.state AS current_state,
                        c.state AS status,
                        ARRAY(
                            SELECT DISTINCT p.name
                            FROM tasker.workflow_step_edges e
                            JOIN tasker.workflow_steps f ON f.workflow_step_uuid = e.from_step_uuid
                            JOIN tasker.named_steps p ON p.named_step_uuid = f.named_step_uuid
                            WHERE e.to_step_uuid = s.workflow_step_uuid
                            ORDER BY p.name
                        ) AS dependencies,
                        s.retryable, s.max_attempts,
                        coalesce(CASE WHEN q.claimed_by IS NULL THEN q.attempt - 1 ELSE q.attempt END,
                                 s.attempts, 0) AS attempts,
                        coalesce(q.claimed_at, s.last_attempted_at::timestamptz)
                            AS last_attempted_at,
                        s.backoff_request_seconds, q.claimed_by IS NOT NULL AS in_process,
                        s.processed, s.processed_at::timestamptz,
                        CASE WHEN s.fits THEN s.inputs END AS inputs,
                        CASE WHEN s.fits THEN s.results END AS results,
                        s.priority, s.created_at::timestamptz, s.callable, q.claimed_by,
                        CASE WHEN q.claimed_by IS NULL AND q.state = 'waiting_for_retry'
                             THEN q.due_at END AS next_retry_at,
                        p.total AS total_parents, p.completed AS completed_parents,
                        p.total = p.completed AS dependencies_satisfied,
                        (q.task_uuid IS NOT NULL AND q.claimed_by IS NULL AND q.due_at <= now())
                            AS ready_for_execution,
                        (q.task_uuid IS NOT NULL AND q.state = 'waiting_for_retry')
                            AS retry_eligible,
                        CASE WHEN s.fits THEN s.checkpoint END AS checkpoint,
                        NOT s.fits AS values_left_out
                 FROM (",
            $page,
            ") s
                 JOIN tasker.named_steps n USING (named_step_uuid)
                 LEFT JOIN tasker.step_queue q
                     ON q.task_uuid = s.task_uuid AND q.workflow_step_uuid = s.workflow_step_uuid
                 CROSS JOIN LATERAL (
                     SELECT tasker.step_state(s.task_uuid, s.workflow_step_uuid) AS state OFFSET 0
                 ) c
                 CROSS JOIN LATERAL (
                     SELECT count(*) AS total, count(*) FILTER (WHERE f.processed) AS completed
                     FROM tasker.workflow_step_edges e
                     JOIN tasker.workflow_steps f ON f.workflow_step_uuid = e.from_step_uuid
                     WHERE e.to_step_uuid = s.workflow_step_uuid
                 ) p
             ) v
             ORDER BY v.workflow_step_uuid"
        )
    };
}

/// Selects the step `$2` of the task `$1`.
const STEP: &str = steps_of!(
    "SELECT *, true AS fits FROM tasker.workflow_steps
     WHERE task_uuid = $1 AND workflow_step_uuid = $2"
);

/// Selects at most `$3` steps of the task `$1` after the step `$2`, with at most `$4` bytes of values. The size
/// as stored comes first, because the exact one of all values would take too long.
macro_rules! page_of_steps {
    () => {
        $crate::models::workflow_step::steps_of!(
            "SELECT w.*, sum(CASE WHEN w.stored <= $4
                                  THEN coalesce(octet_length(w.inputs::text), 0)
                                       + coalesce(octet_length(w.results::text), 0)
                                       + coalesce(octet_length(w.checkpoint::text), 0)
                                  ELSE $4 + 1 END)
                             OVER (ORDER BY w.workflow_step_uuid) <= $4 AS fits
             FROM (
                 SELECT l.*, sum(coalesce(pg_column_size(l.inputs), 0)
                                 + coalesce(pg_column_size(l.results), 0)
                                 + coalesce(pg_column_size(l.checkpoint), 0))
                                 OVER (ORDER BY l.workflow_step_uuid) AS stored
                 FROM (
                     SELECT * FROM (
                         SELECT * FROM tasker.workflow_steps WHERE task_uuid = $1 OFFSET 0
                     ) s
                     WHERE s.workflow_step_uuid > $2 ORDER BY s.workflow_step_uuid LIMIT $3
                 ) l
             ) w"
        )
    };
}
pub(crate) use {page_of_steps, steps_of};

/// Returns at most `limit` steps of a task after the step `after`, oldest first, or none if the task does not
/// exist. Leaves values out above [`MAX_VALUES`].
pub(crate) async fn list_for_task(
    connection: &mut PgConnection,
    task_uuid: Uuid,
    after: Uuid,
    limit: i64,
) -> Result<Vec<WorkflowStep>, sqlx::Error> {
    let steps: Vec<Json<WorkflowStep>> = sqlx::query_scalar(page_of_steps!())
        .bind(task_uuid)
        .bind(after)
        .bind(limit)
        .bind(MAX_VALUES)
        .fetch_all(connection)
        .await?;
    Ok(steps.into_iter().map(|Json(step)| step).collect())
}

/// Returns a step of a task.
pub(crate) async fn find(
    connection: &mut PgConnection,
    task_uuid: Uuid,
    step_uuid: Uuid,
) -> Result<Option<WorkflowStep>, sqlx::Error> {
    let step: Option<Json<WorkflowStep>> = sqlx::query_scalar(STEP)
        .bind(task_uuid)
        .bind(step_uuid)
        .fetch_optional(connection)
        .await?;
    Ok(step.map(|Json(step)| step))
}

/// Returns the ids of the named steps `names`, and creates the missing ones.
///
/// Concurrent calls with the same names all succeed, because each inserts them in the same order.
///
/// # Errors
/// [`sqlx::Error::RowNotFound`] if other processes delete the rows as fast as this one creates
/// them.
pub(crate) async fn ensure_named_steps(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<BTreeMap<String, Uuid>, sqlx::Error> {
    // A row that another process created after this statement's snapshot is neither inserted nor
    // returned, so the next statement looks again.
    const ATTEMPTS: usize = 3;

    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    for _ in 0..ATTEMPTS {
        let rows = sqlx::query!(
            r#"
            WITH wanted AS (
                SELECT DISTINCT w.name FROM unnest($1::text[]) AS w (name)
            ), known AS (
                SELECT s.name, s.named_step_uuid FROM tasker.named_steps s
                JOIN wanted USING (name)
            ), made AS (
                INSERT INTO tasker.named_steps (name)
                SELECT w.name FROM wanted w
                WHERE NOT EXISTS (SELECT FROM known k WHERE k.name = w.name)
                ORDER BY w.name
                ON CONFLICT (name) DO NOTHING
                RETURNING name, named_step_uuid
            )
            SELECT name AS "name!", named_step_uuid AS "named_step_uuid!" FROM known
            UNION ALL
            SELECT name, named_step_uuid FROM made
            "#,
            names
        )
        .fetch_all(&mut *connection)
        .await?;
        let found: BTreeMap<_, _> = rows
            .into_iter()
            .map(|row| (row.name, row.named_step_uuid))
            .collect();
        if names.iter().all(|name| found.contains_key(name)) {
            return Ok(found);
        }
    }
    Err(sqlx::Error::RowNotFound)
}
