//! Rows of `tasker.tasks`, and the one statement that creates tasks with their steps and edges.
//!
//! Times are read as `timestamptz`, because a schema that other software created keeps them without
//! a zone, in UTC. The time zone of our sessions is UTC, so the cast is right for both types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{Connection, FromRow, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::task_template::FreeForm;

use crate::models::workflow_step::{MAX_VALUES, WorkflowStep};

/// A task to create, with its steps and edges.
#[derive(Debug)]
pub(crate) struct NewTask {
    /// Its id.
    pub(crate) task_uuid: Uuid,
    /// The row of its template.
    pub(crate) named_task_uuid: Uuid,
    /// The content hash of its template, in hexadecimal digits.
    pub(crate) template_hash: String,
    /// Identifies the request. Unique among all tasks.
    pub(crate) identity_hash: String,
    /// Time of the request.
    pub(crate) requested_at: DateTime<Utc>,
    /// Connects the tasks of one business operation.
    pub(crate) correlation_id: Uuid,
    /// The request, for all other columns.
    pub(crate) request: Arc<TaskRequest>,
    /// Its initial steps.
    pub(crate) steps: Vec<NewStep>,
    /// Dependencies between the steps.
    pub(crate) edges: Vec<NewEdge>,
    /// Set if somebody waits for its end, which is then announced.
    pub(crate) awaited: bool,
    /// Set if its steps are announced to idle workers.
    pub(crate) announce: bool,
}

/// A step of a task to create.
#[derive(Debug, Clone)]
pub(crate) struct NewStep {
    /// Its id.
    pub(crate) workflow_step_uuid: Uuid,
    /// The row of its name.
    pub(crate) named_step_uuid: Uuid,
    /// The name under which workers know its handler.
    pub(crate) callable: String,
    /// The number of steps that it waits for. It is queued at once if there are none.
    pub(crate) dependencies: i32,
    /// Set if it is tried again after a failure.
    pub(crate) retryable: bool,
    /// The most attempts.
    pub(crate) max_attempts: i32,
}

/// An edge: `to` waits for `from`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEdge {
    /// The step that runs first.
    pub(crate) from: Uuid,
    /// The step that waits.
    pub(crate) to: Uuid,
}

/// Creates tasks, their steps and edges, and queues the steps that wait for nothing, in one statement.
/// Returns the ids and times of creation of those whose identity no task had.
///
/// Waits for locks for `lock_wait` at most, or for as long as the session does. Exactly one of any number
/// of concurrent calls with one identity creates a task. If the call is cancelled or the connection breaks,
/// the tasks may exist; [`find_by_identity`] finds out.
pub(crate) async fn create(
    connection: &mut PgConnection,
    tasks: &[impl AsRef<NewTask>],
    lock_wait: Option<Duration>,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, sqlx::Error> {
    let tasks = || tasks.iter().map(AsRef::as_ref);
    // Nothing will ever run in it that could end it: it has no steps, or all wait for each other.
    let is_idle = |task: &NewTask| task.steps.iter().all(|step| step.dependencies > 0);
    if !tasks().any(is_idle) {
        return insert(connection, tasks, lock_wait).await;
    }
    let mut transaction = connection.begin().await?;
    let created = insert(&mut transaction, tasks, lock_wait).await?;
    let idle: Vec<Uuid> = tasks()
        .filter(|task| is_idle(task) && created.iter().any(|(id, _)| *id == task.task_uuid))
        .map(|task| task.task_uuid)
        .collect();
    sqlx::query("SELECT tasker.tasks_settle($1, '{}')")
        .bind(idle)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(created)
}

#[expect(clippy::too_many_lines, reason = "it is one statement")]
async fn insert<'a, I: Iterator<Item = &'a NewTask>>(
    connection: &mut PgConnection,
    tasks: impl Fn() -> I,
    lock_wait: Option<Duration>,
) -> Result<Vec<(Uuid, DateTime<Utc>)>, sqlx::Error> {
    let steps = || tasks().flat_map(|task| task.steps.iter().map(move |step| (task, step)));
    let edges = || tasks().flat_map(|task| task.edges.iter().map(move |edge| (task, edge)));
    // 0 would be no limit.
    let lock_wait = lock_wait.map(|wait| wait.as_millis().max(1).to_string());
    // The order of the insertions keeps two calls with the same identities from waiting for each other.
    let created = sqlx::query!(
        r#"
        WITH task AS (
            INSERT INTO tasker.tasks
                (task_uuid, named_task_uuid, template_hash, identity_hash, context, initiator,
                 source_system, reason, tags, options, priority, requested_at, correlation_id,
                 parent_correlation_id, awaited, created_at, updated_at)
            SELECT t.task, t.named_task, t.template_hash, t.identity_hash, t.context::jsonb,
                   t.initiator, t.source_system, t.reason, t.tags, t.options::jsonb, t.priority,
                   t.requested_at, t.correlation_id, t.parent_correlation_id, t.awaited, now(), now()
            FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[],
                        $7::text[], $8::text[], $9::jsonb[], $10::text[], $11::int[],
                        $12::timestamptz[], $13::uuid[], $14::uuid[], $15::bool[])
                AS t (task, named_task, template_hash, identity_hash, context, initiator,
                      source_system, reason, tags, options, priority, requested_at, correlation_id,
                      parent_correlation_id, awaited)
            WHERE $16::text IS NULL OR set_config('lock_timeout', $16, true) IS NOT NULL
            ORDER BY t.identity_hash
            ON CONFLICT (identity_hash) DO NOTHING
            RETURNING task_uuid, created_at, priority
        ), transitions AS (
            INSERT INTO tasker.task_transitions
                (task_transition_uuid, task_uuid, to_state, sort_key, most_recent, created_at,
                 updated_at)
            SELECT t.transition, task.task_uuid, 'pending', 1, true, now(), now()
            FROM unnest($17::uuid[], $1::uuid[]) AS t (transition, task_uuid)
            JOIN task USING (task_uuid)
        ), steps AS (
            INSERT INTO tasker.workflow_steps
                (workflow_step_uuid, task_uuid, named_step_uuid, retryable, max_attempts,
                 callable, unmet_dependencies, priority, created_at, updated_at)
            SELECT s.step, task.task_uuid, s.named_step, s.retryable, s.max_attempts, s.callable,
                   s.dependencies, task.priority, now(), now()
            FROM unnest($18::uuid[], $19::uuid[], $20::uuid[], $21::bool[], $22::int[], $23::text[],
                        $24::int[])
                AS s (task_uuid, step, named_step, retryable, max_attempts, callable, dependencies)
            JOIN task USING (task_uuid)
        ), edges AS (
            INSERT INTO tasker.workflow_step_edges
                (workflow_step_edge_uuid, from_step_uuid, to_step_uuid, name, created_at,
                 updated_at)
            SELECT e.edge, e.from_step, e.to_step, 'provides', now(), now()
            FROM unnest($25::uuid[], $26::uuid[], $27::uuid[], $28::uuid[])
                AS e (task_uuid, edge, from_step, to_step)
            JOIN task USING (task_uuid)
        ), priorities AS (
            INSERT INTO tasker.step_queue_priorities (priority)
            SELECT DISTINCT tasker.queue_priority(priority) FROM task WHERE priority <> 0
            ON CONFLICT DO NOTHING
        ), queued AS (
            INSERT INTO tasker.step_queue
                (task_uuid, workflow_step_uuid, callable, priority, due_at, state, sort_key,
                 attempt, uncounted)
            SELECT task.task_uuid, s.step, s.callable, tasker.queue_priority(task.priority), now(),
                   'enqueued', 0, 1, 0
            FROM unnest($18::uuid[], $19::uuid[], $23::text[], $24::int[])
                AS s (task_uuid, step, callable, dependencies)
            JOIN task USING (task_uuid)
            WHERE s.dependencies = 0
        )
        SELECT task_uuid, created_at::timestamptz AS "created_at!",
               (SELECT tasker.steps_announce(now()) WHERE $29)::text AS announced
        FROM task
        "#,
        &column(tasks().map(|t| t.task_uuid)),
        &column(tasks().map(|t| t.named_task_uuid)),
        &column(tasks().map(|t| &*t.template_hash)) as _,
        &column(tasks().map(|t| &*t.identity_hash)) as _,
        &column(tasks().map(|t| t.request.context.as_json())) as _,
        &column(tasks().map(|t| &*t.request.initiator)) as _,
        &column(tasks().map(|t| &*t.request.source_system)) as _,
        &column(tasks().map(|t| &*t.request.reason)) as _,
        &column(tasks().map(|t| Json(&t.request.tags))) as _,
        &column(tasks().map(|t| t.request.options.as_ref().map(FreeForm::as_json))) as _,
        &column(tasks().map(|t| t.request.priority.unwrap_or_default())),
        &column(tasks().map(|t| t.requested_at)),
        &column(tasks().map(|t| t.correlation_id)),
        &column(tasks().map(|t| t.request.parent_correlation_id)) as _,
        &column(tasks().map(|t| t.awaited)),
        lock_wait,
        &column(tasks().map(|_| Uuid::now_v7())),
        &column(steps().map(|(t, _)| t.task_uuid)),
        &column(steps().map(|(_, s)| s.workflow_step_uuid)),
        &column(steps().map(|(_, s)| s.named_step_uuid)),
        &column(steps().map(|(_, s)| s.retryable)),
        &column(steps().map(|(_, s)| s.max_attempts)),
        &column(steps().map(|(_, s)| &*s.callable)) as _,
        &column(steps().map(|(_, s)| s.dependencies)),
        &column(edges().map(|(t, _)| t.task_uuid)),
        &column(edges().map(|_| Uuid::now_v7())),
        &column(edges().map(|(_, e)| e.from)),
        &column(edges().map(|(_, e)| e.to)),
        tasks().any(|t| t.announce),
    )
    .fetch_all(&mut *connection)
    .await?;
    Ok(created
        .into_iter()
        .map(|row| (row.task_uuid, row.created_at))
        .collect())
}

fn column<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    items.collect()
}

/// The answer to a request that repeats another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskIdentity {
    /// The existing task.
    pub(crate) task_uuid: Uuid,
    /// Its current state.
    pub(crate) status: String,
    /// Time of creation.
    pub(crate) created_at: DateTime<Utc>,
    /// The hash of the template that it was created from, if it was recorded.
    pub(crate) template_hash: Option<String>,
    /// Its steps, by name.
    pub(crate) steps: Json<BTreeMap<String, Uuid>>,
}

/// Returns the task with this `identity_hash`, if there is one.
pub(crate) async fn find_by_identity(
    connection: &mut PgConnection,
    identity_hash: &str,
) -> Result<Option<TaskIdentity>, sqlx::Error> {
    sqlx::query_as!(
        TaskIdentity,
        r#"
        SELECT t.task_uuid, t.created_at::timestamptz AS "created_at!", t.template_hash,
               tasker.task_state(t.task_uuid) AS "status!",
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
pub(crate) struct TaskSummary {
    /// Its id.
    pub(crate) task_uuid: Uuid,
    /// Its template's namespace.
    pub(crate) namespace: String,
    /// Its template's name.
    pub(crate) name: String,
    /// Its template's version.
    pub(crate) version: String,
    /// Its current state, such as `pending`.
    pub(crate) status: String,
    /// True once all steps are complete.
    pub(crate) complete: bool,
    /// Higher runs earlier.
    pub(crate) priority: i32,
    /// Time of the request.
    pub(crate) requested_at: DateTime<Utc>,
    /// Time of completion.
    pub(crate) completed_at: Option<DateTime<Utc>>,
    /// Time of creation.
    pub(crate) created_at: DateTime<Utc>,
    /// Connects the tasks of one business operation.
    pub(crate) correlation_id: Uuid,
    /// The hash of the template that it was created from, if it was recorded.
    pub(crate) template_hash: Option<String>,
}

/// States that a task can have, those of other software on the database included.
pub(crate) const STATES: [&str; 12] = [
    "pending",
    "initializing",
    "enqueuing_steps",
    "steps_in_process",
    "evaluating_results",
    "waiting_for_dependencies",
    "waiting_for_retry",
    "blocked_by_failures",
    "complete",
    "error",
    "cancelled",
    "resolved_manually",
];

/// Restricts a list of tasks. A field that is `None` restricts nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskFilter {
    /// Only tasks of templates in this namespace.
    pub(crate) namespace: Option<String>,
    /// Only tasks of templates with this name.
    pub(crate) name: Option<String>,
    /// Only tasks that are in this state.
    pub(crate) status: Option<String>,
    /// Only tasks that were created before the task with this id.
    pub(crate) before: Option<Uuid>,
}

/// Returns the newest `limit` tasks that match `filter`, newest first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &TaskFilter,
    limit: i64,
) -> Result<Vec<TaskSummary>, sqlx::Error> {
    // Version 7 UUIDs sort by time, so the primary key gives the order. The array keeps the planner from
    // reading all tasks for a page of them.
    sqlx::query_as!(
        TaskSummary,
        r#"
        SELECT t.task_uuid, ns.name AS namespace, nt.name, nt.version,
               tasker.task_state(t.task_uuid) AS "status!",
               t.complete, t.priority, t.requested_at::timestamptz AS "requested_at!",
               t.completed_at::timestamptz, t.created_at::timestamptz AS "created_at!",
               t.correlation_id, t.template_hash
        FROM tasker.tasks_list($1, $2, $3, $4, $5) l (task_uuid)
        JOIN tasker.tasks t ON t.task_uuid = ANY (ARRAY[l.task_uuid])
        JOIN tasker.named_tasks nt USING (named_task_uuid)
        JOIN tasker.task_namespaces ns USING (task_namespace_uuid)
        ORDER BY t.task_uuid DESC
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
#[expect(
    clippy::struct_field_names,
    reason = "clients know the fields by these names"
)]
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, ToSchema)]
pub(crate) struct Task {
    /// Its id.
    pub(crate) task_uuid: Uuid,
    /// Its template's namespace.
    pub(crate) namespace: String,
    /// Its template's name.
    pub(crate) name: String,
    /// Its template's version.
    pub(crate) version: String,
    /// The hash of the template that it was created from, if it was recorded.
    pub(crate) template_hash: Option<String>,
    /// Its current state, such as `pending`.
    pub(crate) status: String,
    /// True once all steps are complete.
    pub(crate) complete: bool,
    /// The task's input.
    #[schema(value_type = Option<Object>)]
    #[sqlx(json(nullable))]
    pub(crate) context: Option<FreeForm>,
    /// The person or program that sent the request.
    pub(crate) initiator: Option<String>,
    /// The system that sent the request.
    pub(crate) source_system: Option<String>,
    /// The reason for the request.
    pub(crate) reason: Option<String>,
    /// Free labels.
    #[schema(value_type = Option<Vec<String>>)]
    #[sqlx(json(nullable))]
    pub(crate) tags: Option<FreeForm>,
    /// Free options.
    #[schema(value_type = Option<Object>)]
    #[sqlx(json(nullable))]
    pub(crate) options: Option<FreeForm>,
    /// Higher runs earlier.
    pub(crate) priority: i32,
    /// Connects the tasks of one business operation.
    pub(crate) correlation_id: Uuid,
    /// The correlation id of the operation that caused it.
    pub(crate) parent_correlation_id: Option<Uuid>,
    /// Time of the request.
    pub(crate) requested_at: DateTime<Utc>,
    /// Time of completion.
    pub(crate) completed_at: Option<DateTime<Utc>>,
    /// Time of creation.
    pub(crate) created_at: DateTime<Utc>,
    /// Time of the row's last change.
    pub(crate) updated_at: DateTime<Utc>,
    /// Number of its steps.
    #[sqlx(skip)]
    pub(crate) step_count: usize,
}

/// A task with its steps.
#[derive(Debug, FromRow)]
struct TaskWithSteps {
    #[sqlx(flatten)]
    task: Task,
    steps: Json<Vec<WorkflowStep>>,
}

/// Returns the task with this id and its steps, oldest first, both in one snapshot: a state that is
/// computed from the steps must agree with them. Leaves values of steps out above [`MAX_VALUES`].
pub(crate) async fn find(
    connection: &mut PgConnection,
    task_uuid: Uuid,
) -> Result<Option<(Task, Vec<WorkflowStep>)>, sqlx::Error> {
    let found: Option<TaskWithSteps> = sqlx::query_as(concat!(
        "SELECT t.task_uuid, ns.name AS namespace, nt.name, nt.version, t.template_hash,
                tasker.task_state(t.task_uuid) AS status,
                t.complete, t.context, t.initiator, t.source_system, t.reason, t.tags, t.options,
                t.priority, t.correlation_id, t.parent_correlation_id,
                t.requested_at::timestamptz, t.completed_at::timestamptz, t.created_at::timestamptz,
                t.updated_at::timestamptz,
                (SELECT coalesce(json_agg(l.step), '[]') FROM (",
        include_str!("steps.sql"),
        ") l (step)) AS steps
         FROM tasker.tasks t
         JOIN tasker.named_tasks nt USING (named_task_uuid)
         JOIN tasker.task_namespaces ns USING (task_namespace_uuid)
         WHERE t.task_uuid = $1"
    ))
    .bind(task_uuid)
    .bind(Uuid::nil())
    .bind(None::<i64>)
    .bind(MAX_VALUES)
    .bind(None::<Uuid>)
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|found| {
        let Json(steps) = found.steps;
        let task = Task {
            step_count: steps.len(),
            ..found.task
        };
        (task, steps)
    }))
}

/// Returns true if there is a task with this id.
pub(crate) async fn exists(
    connection: &mut PgConnection,
    task_uuid: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM tasker.tasks WHERE task_uuid = $1) AS "exists!""#,
        task_uuid
    )
    .fetch_one(&mut *connection)
    .await
}
