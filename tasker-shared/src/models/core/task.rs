//! Rows of `tasker.tasks`, and the one statement that creates a task with its steps and edges.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::task_request::TaskRequest;

/// A task to create, with its steps and edges.
#[derive(Debug)]
pub struct NewTask {
    /// Its id.
    pub task_uuid: Uuid,
    /// The row of its template.
    pub named_task_uuid: Uuid,
    /// The content hash of its template, in hexadecimal digits.
    pub template_hash: String,
    /// Identifies the request. Unique among all tasks.
    pub identity_hash: String,
    /// Time of the request.
    pub requested_at: DateTime<Utc>,
    /// Connects the tasks of one business operation.
    pub correlation_id: Uuid,
    /// The request, for all other columns.
    pub request: Arc<TaskRequest>,
    /// Its initial steps.
    pub steps: Vec<NewStep>,
    /// Dependencies between the steps.
    pub edges: Vec<NewEdge>,
}

/// A step of a task to create.
#[derive(Debug, Clone, Copy)]
pub struct NewStep {
    /// Its id.
    pub workflow_step_uuid: Uuid,
    /// The row of its name.
    pub named_step_uuid: Uuid,
    /// True if a failed attempt is retried.
    pub retryable: bool,
    /// The most attempts, the first one included.
    pub max_attempts: i32,
}

/// An edge: `to` waits for `from`.
#[derive(Debug, Clone, Copy)]
pub struct NewEdge {
    /// The step that runs first.
    pub from: Uuid,
    /// The step that waits.
    pub to: Uuid,
}

/// Creates a task, its steps, their edges and the first transition of each in one statement.
/// Returns the time of creation, or `None` if a task with the same identity exists.
///
/// Exactly one of any number of concurrent calls with one identity creates a task. If the call is
/// cancelled or the connection breaks, the task may exist; [`find_by_identity`] finds out.
pub async fn create(
    connection: &mut PgConnection,
    task: &NewTask,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let (request, steps, edges) = (&task.request, &task.steps, &task.edges);
    let step_uuids: Vec<Uuid> = steps.iter().map(|s| s.workflow_step_uuid).collect();
    let named_steps: Vec<Uuid> = steps.iter().map(|s| s.named_step_uuid).collect();
    let retryable: Vec<bool> = steps.iter().map(|s| s.retryable).collect();
    let max_attempts: Vec<i32> = steps.iter().map(|s| s.max_attempts).collect();
    let from: Vec<Uuid> = edges.iter().map(|e| e.from).collect();
    let to: Vec<Uuid> = edges.iter().map(|e| e.to).collect();
    sqlx::query_scalar!(
        r#"
        WITH task AS (
            INSERT INTO tasker.tasks
                (task_uuid, named_task_uuid, template_hash, identity_hash, context, initiator,
                 source_system, reason, tags, options, priority, requested_at, correlation_id,
                 parent_correlation_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            ON CONFLICT (identity_hash) DO NOTHING
            RETURNING task_uuid, created_at
        ), transition AS (
            INSERT INTO tasker.task_transitions
                (task_transition_uuid, task_uuid, to_state, sort_key, most_recent)
            SELECT $15, task_uuid, 'pending', 1, true FROM task
        ), steps AS (
            INSERT INTO tasker.workflow_steps
                (workflow_step_uuid, task_uuid, named_step_uuid, retryable, max_attempts)
            SELECT s.step, task.task_uuid, s.named_step, s.retryable, s.max_attempts
            FROM task, unnest($16::uuid[], $17::uuid[], $18::bool[], $19::int[])
                AS s (step, named_step, retryable, max_attempts)
        ), step_transitions AS (
            INSERT INTO tasker.workflow_step_transitions
                (workflow_step_transition_uuid, workflow_step_uuid, to_state, sort_key,
                 most_recent)
            SELECT s.transition, s.step, 'pending', 1, true
            FROM task, unnest($20::uuid[], $16::uuid[]) AS s (transition, step)
        ), edges AS (
            INSERT INTO tasker.workflow_step_edges
                (workflow_step_edge_uuid, from_step_uuid, to_step_uuid, name)
            SELECT e.edge, e.from_step, e.to_step, 'provides'
            FROM task, unnest($21::uuid[], $22::uuid[], $23::uuid[])
                AS e (edge, from_step, to_step)
        )
        SELECT created_at AS "created_at!" FROM task
        "#,
        task.task_uuid,
        task.named_task_uuid,
        task.template_hash,
        task.identity_hash,
        request.context,
        request.initiator,
        request.source_system,
        request.reason,
        Json(&request.tags) as _,
        request.options,
        request.priority.unwrap_or_default(),
        task.requested_at,
        task.correlation_id,
        request.parent_correlation_id,
        Uuid::now_v7(),
        &step_uuids,
        &named_steps,
        &retryable,
        &max_attempts,
        &new_ids(steps.len()),
        &new_ids(edges.len()),
        &from,
        &to,
    )
    .fetch_optional(&mut *connection)
    .await
}

fn new_ids(count: usize) -> Vec<Uuid> {
    std::iter::repeat_with(Uuid::now_v7).take(count).collect()
}

/// The answer to a request that repeats another one.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskIdentity {
    /// The existing task.
    pub task_uuid: Uuid,
    /// Its current state.
    pub status: String,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// The hash of the template that it was created from, if it was recorded.
    pub template_hash: Option<String>,
    /// Its steps, by name.
    pub steps: Json<BTreeMap<String, Uuid>>,
}

/// Returns the task with this identity.
pub async fn find_by_identity(
    connection: &mut PgConnection,
    identity_hash: &str,
) -> Result<Option<TaskIdentity>, sqlx::Error> {
    sqlx::query_as!(
        TaskIdentity,
        r#"
        SELECT t.task_uuid, t.created_at, t.template_hash,
               coalesce(
                   (SELECT x.to_state FROM tasker.task_transitions x
                    WHERE x.task_uuid = t.task_uuid AND x.most_recent
                    ORDER BY x.sort_key DESC LIMIT 1),
                   'pending'
               ) AS "status!",
               (SELECT coalesce(jsonb_object_agg(n.name, s.workflow_step_uuid), '{}')
                FROM tasker.workflow_steps s JOIN tasker.named_steps n USING (named_step_uuid)
                WHERE s.task_uuid = t.task_uuid
               ) AS "steps!: Json<BTreeMap<String, Uuid>>"
        FROM tasker.tasks t
        WHERE t.identity_hash = $1
        "#,
        identity_hash
    )
    .fetch_optional(&mut *connection)
    .await
}

/// A task in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TaskSummary {
    /// Its id.
    pub task_uuid: Uuid,
    /// Its template's namespace.
    pub namespace: String,
    /// Its template's name.
    pub name: String,
    /// Its template's version.
    pub version: String,
    /// Its current state, such as `pending`.
    pub status: String,
    /// True once all steps are complete.
    pub complete: bool,
    /// Higher runs earlier.
    pub priority: i32,
    /// Time of the request.
    pub requested_at: DateTime<Utc>,
    /// Time of completion.
    pub completed_at: Option<DateTime<Utc>>,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Connects the tasks of one business operation.
    pub correlation_id: Uuid,
    /// The hash of the template that it was created from, if it was recorded.
    pub template_hash: Option<String>,
}

/// Restricts a list of tasks. A field that is `None` restricts nothing.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Only tasks of templates in this namespace.
    pub namespace: Option<String>,
    /// Only tasks of templates with this name.
    pub name: Option<String>,
    /// Only tasks that are in this state.
    pub status: Option<String>,
    /// Only tasks that were created before the task with this id.
    pub before: Option<Uuid>,
}

/// Returns the newest `limit` tasks that match `filter`, newest first.
pub async fn list(
    connection: &mut PgConnection,
    filter: &TaskFilter,
    limit: i64,
) -> Result<Vec<TaskSummary>, sqlx::Error> {
    // Version 7 UUIDs sort by time, so the primary key gives the order.
    sqlx::query_as!(
        TaskSummary,
        r#"
        SELECT t.task_uuid, ns.name AS namespace, nt.name, nt.version,
               coalesce(x.to_state, 'pending') AS "status!",
               t.complete, t.priority, t.requested_at, t.completed_at, t.created_at,
               t.correlation_id, t.template_hash
        FROM tasker.tasks t
        JOIN tasker.named_tasks nt USING (named_task_uuid)
        JOIN tasker.task_namespaces ns USING (task_namespace_uuid)
        LEFT JOIN LATERAL (
            SELECT x.to_state FROM tasker.task_transitions x
            WHERE x.task_uuid = t.task_uuid AND x.most_recent
            ORDER BY x.sort_key DESC LIMIT 1
        ) x ON true
        WHERE ($1::text IS NULL OR ns.name = $1)
          AND ($2::text IS NULL OR nt.name = $2)
          AND ($3::text IS NULL OR coalesce(x.to_state, 'pending') = $3)
          AND ($4::uuid IS NULL OR t.task_uuid < $4)
        ORDER BY t.task_uuid DESC
        LIMIT $5
        "#,
        filter.namespace as _,
        filter.name as _,
        filter.status as _,
        filter.before as _,
        limit
    )
    .fetch_all(&mut *connection)
    .await
}

/// A task with all fields of its request.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Task {
    /// Its id.
    pub task_uuid: Uuid,
    /// Its template's namespace.
    pub namespace: String,
    /// Its template's name.
    pub name: String,
    /// Its template's version.
    pub version: String,
    /// The hash of the template that it was created from, if it was recorded.
    pub template_hash: Option<String>,
    /// Its current state, such as `pending`.
    pub status: String,
    /// True once all steps are complete.
    pub complete: bool,
    /// The task's input.
    #[schema(value_type = Option<Object>)]
    pub context: Option<Value>,
    /// The person or program that sent the request.
    pub initiator: Option<String>,
    /// The system that sent the request.
    pub source_system: Option<String>,
    /// The reason for the request.
    pub reason: Option<String>,
    /// Free labels.
    #[schema(value_type = Option<Vec<String>>)]
    pub tags: Option<Value>,
    /// Free options.
    #[schema(value_type = Option<Object>)]
    pub options: Option<Value>,
    /// Higher runs earlier.
    pub priority: i32,
    /// Connects the tasks of one business operation.
    pub correlation_id: Uuid,
    /// The correlation id of the operation that caused it.
    pub parent_correlation_id: Option<Uuid>,
    /// Time of the request.
    pub requested_at: DateTime<Utc>,
    /// Time of completion.
    pub completed_at: Option<DateTime<Utc>>,
    /// Time of creation.
    pub created_at: DateTime<Utc>,
    /// Time of the row's last change.
    pub updated_at: DateTime<Utc>,
    /// Number of its steps.
    pub step_count: i64,
}

/// Returns the task with this id.
pub async fn find(
    connection: &mut PgConnection,
    task_uuid: Uuid,
) -> Result<Option<Task>, sqlx::Error> {
    sqlx::query_as!(
        Task,
        r#"
        SELECT t.task_uuid, ns.name AS namespace, nt.name, nt.version, t.template_hash,
               coalesce(
                   (SELECT x.to_state FROM tasker.task_transitions x
                    WHERE x.task_uuid = t.task_uuid AND x.most_recent
                    ORDER BY x.sort_key DESC LIMIT 1),
                   'pending'
               ) AS "status!",
               t.complete, t.context, t.initiator, t.source_system, t.reason, t.tags, t.options,
               t.priority, t.correlation_id, t.parent_correlation_id, t.requested_at,
               t.completed_at, t.created_at, t.updated_at,
               (SELECT count(*) FROM tasker.workflow_steps s WHERE s.task_uuid = t.task_uuid)
                   AS "step_count!"
        FROM tasker.tasks t
        JOIN tasker.named_tasks nt USING (named_task_uuid)
        JOIN tasker.task_namespaces ns USING (task_namespace_uuid)
        WHERE t.task_uuid = $1
        "#,
        task_uuid
    )
    .fetch_optional(&mut *connection)
    .await
}

/// Returns true if there is a task with this id.
pub async fn exists(connection: &mut PgConnection, task_uuid: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM tasker.tasks WHERE task_uuid = $1) AS "exists!""#,
        task_uuid
    )
    .fetch_one(&mut *connection)
    .await
}
