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
// As `steps.sql` returns it. Values of templates and handlers stay text, because nobody reads them on their way.
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
    /// True if `inputs`, `results` and `checkpoint` are left out of a list, because it would have more than
    /// 4 MiB of them. The largest are left out. Read the step itself to get them. Absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) values_left_out: bool,
}

/// The most bytes of `inputs`, `results` and `checkpoint` in a list of steps.
pub(crate) const MAX_VALUES: i64 = 4 * 1024 * 1024;

/// Returns at most `limit` steps of a task after the step `after`, oldest first, or none if the task does not
/// exist. Leaves values out above [`MAX_VALUES`].
pub(crate) async fn list_for_task(
    connection: &mut PgConnection,
    task_uuid: Uuid,
    after: Uuid,
    limit: i64,
) -> Result<Vec<WorkflowStep>, sqlx::Error> {
    let steps = sqlx::query_file_scalar!(
        "src/models/steps.sql",
        task_uuid,
        after,
        limit,
        MAX_VALUES,
        None::<Uuid>
    );
    let steps = steps.fetch_all(connection).await?;
    Ok(steps.into_iter().map(|Json(step)| step).collect())
}

/// Returns a step of a task.
pub(crate) async fn find(
    connection: &mut PgConnection,
    task_uuid: Uuid,
    step_uuid: Uuid,
) -> Result<Option<WorkflowStep>, sqlx::Error> {
    let step = sqlx::query_file_scalar!(
        "src/models/steps.sql",
        task_uuid,
        Uuid::nil(),
        None::<i64>,
        None::<i64>,
        step_uuid
    );
    let step = step.fetch_optional(connection).await?;
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
