//! Rows of `tasker.tasks`, and the one statement that makes a task with all that belongs to it.

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

/// A task to be made, with all that belongs to it.
#[derive(Debug)]
pub struct NewTask {
    /// Its id.
    pub task_uuid: Uuid,
    /// The row of its template.
    pub named_task_uuid: Uuid,
    /// The content hash of its template, in hexadecimal digits.
    pub template_hash: String,
    /// What makes two requests the same; unique among all tasks.
    pub identity_hash: String,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// Ties tasks of one business operation together.
    pub correlation_id: Uuid,
    /// Everything else.
    pub request: Arc<TaskRequest>,
    /// Its first steps.
    pub steps: Vec<NewStep>,
    /// Which of them wait for which.
    pub edges: Vec<NewEdge>,
}

/// A step of a task to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewStep {
    /// Its id.
    pub workflow_step_uuid: Uuid,
    /// The row of its name.
    pub named_step_uuid: Uuid,
    /// Whether it is tried again after a failure.
    pub retryable: bool,
    /// How often it is tried at most.
    pub max_attempts: i32,
}

/// That `to` waits for `from`.
#[derive(Debug, Clone, Copy)]
pub struct NewEdge {
    /// The step that comes first.
    pub from: Uuid,
    /// The step that waits.
    pub to: Uuid,
}

/// Makes a task, its steps, their edges and the first transition of each, all or nothing, in one
/// statement. Answers when it was made; nothing if a task with the same identity is there.
///
/// Of any number of concurrent calls with one identity exactly one makes a task. A caller that is
/// cancelled, or loses its connection, may or may not have made it: [`find_by_identity`] tells.
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

/// What the second of two same requests is told.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskIdentity {
    /// The task that is there.
    pub task_uuid: Uuid,
    /// Its current state.
    pub status: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The content hash of the template that it was made from, if that is known.
    pub template_hash: Option<String>,
    /// Its steps, by name.
    pub steps: Json<BTreeMap<String, Uuid>>,
}

/// The task with this identity, if there is one.
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
    /// Whether all of it is done.
    pub complete: bool,
    /// Higher runs earlier.
    pub priority: i32,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When all of it was done.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Ties tasks of one business operation together.
    pub correlation_id: Uuid,
    /// The content hash of the template that it was made from, if that is known.
    pub template_hash: Option<String>,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Of templates in this namespace.
    pub namespace: Option<String>,
    /// Of templates of this name.
    pub name: Option<String>,
    /// In this state now.
    pub status: Option<String>,
    /// Made before the task with this id.
    pub before: Option<Uuid>,
}

/// The newest `limit` tasks that `filter` lets through, newest first.
pub async fn list(
    connection: &mut PgConnection,
    filter: &TaskFilter,
    limit: i64,
) -> Result<Vec<TaskSummary>, sqlx::Error> {
    // Version 7 UUIDs sort by time: the primary key is the order.
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

/// A task with everything that it was asked with.
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
    /// The content hash of the template that it was made from, if that is known.
    pub template_hash: Option<String>,
    /// Its current state, such as `pending`.
    pub status: String,
    /// Whether all of it is done.
    pub complete: bool,
    /// What it works on.
    #[schema(value_type = Option<Object>)]
    pub context: Option<Value>,
    /// Who asked.
    pub initiator: Option<String>,
    /// From which system.
    pub source_system: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Free labels.
    #[schema(value_type = Option<Vec<String>>)]
    pub tags: Option<Value>,
    /// Free options.
    #[schema(value_type = Option<Object>)]
    pub options: Option<Value>,
    /// Higher runs earlier.
    pub priority: i32,
    /// Ties tasks of one business operation together.
    pub correlation_id: Uuid,
    /// The correlation id of what caused it.
    pub parent_correlation_id: Option<Uuid>,
    /// When it was asked for.
    pub requested_at: DateTime<Utc>,
    /// When all of it was done.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its row changed last.
    pub updated_at: DateTime<Utc>,
    /// How many steps it has now.
    pub step_count: i64,
}

/// The task with this id, if there is one.
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

/// Whether there is a task with this id.
pub async fn exists(connection: &mut PgConnection, task_uuid: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM tasker.tasks WHERE task_uuid = $1) AS "exists!""#,
        task_uuid
    )
    .fetch_one(&mut *connection)
    .await
}
