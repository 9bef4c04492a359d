//! Rows of `tasker.named_steps`, `tasker.workflow_steps` and their edges.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

/// A step of a task, as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct WorkflowStep {
    /// The step's own id.
    pub workflow_step_uuid: Uuid,
    /// The task that it belongs to.
    pub task_uuid: Uuid,
    /// Its name in the template.
    pub name: String,
    /// Its current state, such as `pending`.
    pub status: String,
    /// Names of the steps that have to be complete before it.
    pub dependencies: Vec<String>,
    /// Whether it is tried again after a failure.
    pub retryable: bool,
    /// How often it is tried at most.
    pub max_attempts: Option<i32>,
    /// How often it was tried.
    pub attempts: i32,
    /// When it was tried last.
    pub last_attempted_at: Option<DateTime<Utc>>,
    /// How long the handler asked to wait before the next attempt, in seconds.
    pub backoff_request_seconds: Option<i32>,
    /// Whether a worker has it now.
    pub in_process: bool,
    /// Whether it is complete.
    pub processed: bool,
    /// When it was completed.
    pub processed_at: Option<DateTime<Utc>>,
    /// What it works on beside the task's context.
    #[schema(value_type = Option<Object>)]
    pub inputs: Option<Value>,
    /// What it answered.
    #[schema(value_type = Option<Object>)]
    pub results: Option<Value>,
    /// Higher runs earlier.
    pub priority: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// All steps of a task, oldest first; none if there is no such task.
pub async fn list_for_task(
    connection: &mut PgConnection,
    task_uuid: Uuid,
) -> Result<Vec<WorkflowStep>, sqlx::Error> {
    sqlx::query_as!(
        WorkflowStep,
        r#"
        SELECT s.workflow_step_uuid, s.task_uuid, n.name,
               coalesce(
                   (SELECT x.to_state FROM tasker.workflow_step_transitions x
                    WHERE x.workflow_step_uuid = s.workflow_step_uuid AND x.most_recent
                    ORDER BY x.sort_key DESC LIMIT 1),
                   'pending'
               ) AS "status!",
               ARRAY(
                   SELECT DISTINCT p.name
                   FROM tasker.workflow_step_edges e
                   JOIN tasker.workflow_steps f ON f.workflow_step_uuid = e.from_step_uuid
                   JOIN tasker.named_steps p ON p.named_step_uuid = f.named_step_uuid
                   WHERE e.to_step_uuid = s.workflow_step_uuid
                   ORDER BY p.name
               ) AS "dependencies!: Vec<String>",
               s.retryable, s.max_attempts, coalesce(s.attempts, 0) AS "attempts!",
               s.last_attempted_at, s.backoff_request_seconds, s.in_process, s.processed,
               s.processed_at, s.inputs, s.results, s.priority, s.created_at
        FROM tasker.workflow_steps s
        JOIN tasker.named_steps n USING (named_step_uuid)
        WHERE s.task_uuid = $1
        ORDER BY s.workflow_step_uuid
        "#,
        task_uuid
    )
    .fetch_all(&mut *connection)
    .await
}

/// The ids of the named steps `names`, of which missing ones are made.
///
/// Processes that make the same names at once do it in the same order and both succeed.
///
/// # Errors
/// [`sqlx::Error::RowNotFound`] when rows are deleted as fast as they are made.
pub async fn ensure_named_steps(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<BTreeMap<String, Uuid>, sqlx::Error> {
    // A row that another process made since this statement's snapshot is neither inserted nor
    // seen by it; the next statement sees it.
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
