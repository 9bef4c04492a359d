//! Operators' view of running steps, and their actions.

use std::sync::Arc;

use crate::models::workflow_step::{self, MAX_VALUES, WorkflowStep};
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::FromRow;
use sqlx::types::Json;
use tasker_shared::database;
use tasker_shared::models::core::task_template::FreeForm;
use tasker_web::ProblemBody;
use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiJson, ApiPath, ApiResult, FieldError, Problem};
use utoipa::ToSchema;
use uuid::Uuid;

use super::checks::{Exact, MAX_NOTE, MAX_PERSON, check_texts};
use super::operate::{Operated, Operation, operate};
use super::tasks::task_not_found;
use crate::QUERY_LIMIT;
use crate::web::state::ApiState;

/// The answer to a cancellation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskCancelled {
    task_uuid: Uuid,
    /// `cancelled`.
    status: &'static str,
}

/// Cancel a task
///
/// Steps that wait are cancelled at once. Handlers that run are told with their worker's next
/// heartbeat; their results are refused.
#[utoipa::path(
    delete,
    path = "/v1/tasks/{task_uuid}",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task")),
    responses(
        (status = 200, description = "Cancelled", body = TaskCancelled),
        (status = 404, description = "`task_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`task_ended`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn cancel_task(
    State(state): State<ApiState>,
    ApiPath(task_uuid): ApiPath<Uuid>,
) -> ApiResult<ApiJson<TaskCancelled>> {
    // Shows a repetition that the first run took effect.
    let operation = Uuid::now_v7();
    let outcome = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        Box::pin(async move {
            // Tasks that other software has ended lack the mark of the end.
            sqlx::query_scalar::<_, String>(
                "SELECT CASE WHEN EXISTS (
                     SELECT FROM tasker.tasks t
                     JOIN tasker.task_transitions x ON x.task_uuid = t.task_uuid AND x.most_recent
                     WHERE t.task_uuid = $1 AND t.ended_at IS NULL AND x.to_state IN
                         ('complete', 'error', 'cancelled', 'resolved_manually')
                 ) THEN 'ended' ELSE tasker.task_cancel($1, $2) END",
            )
            .bind(task_uuid)
            .bind(Json(json!({"reason": "cancelled", "operation": operation})))
            .fetch_one(connection)
            .await
        })
    });
    match outcome.await?.as_str() {
        "cancelled" => Ok(ApiJson(TaskCancelled {
            task_uuid,
            status: "cancelled",
        })),
        "ended" => Err(Problem::new(
            &kinds::TASK_ENDED,
            format!("Task {task_uuid} has ended."),
        )),
        _ => Err(task_not_found(task_uuid)),
    }
}

/// A step of a task
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task"), ("step_uuid" = Uuid, Path, description = "The step")),
    responses(
        (status = 200, description = "The step", body = WorkflowStep),
        (status = 404, description = "`step_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_workflow_step(
    State(state): State<ApiState>,
    ApiPath((task_uuid, step_uuid)): ApiPath<(Uuid, Uuid)>,
) -> ApiResult<ApiJson<WorkflowStep>> {
    let step = database::run_idempotent(&state.pool, QUERY_LIMIT, move |connection| {
        Box::pin(workflow_step::find(connection, task_uuid, step_uuid))
    });
    step.await?
        .map(ApiJson)
        .ok_or_else(|| step_not_found(task_uuid, step_uuid))
}

fn step_not_found(task_uuid: Uuid, step_uuid: Uuid) -> Problem {
    Problem::new(
        &kinds::STEP_NOT_FOUND,
        format!("Task {task_uuid} has no step {step_uuid}."),
    )
}

/// An operator's action on a step. The operator and the reason are texts that say something.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "action_type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum StepAction {
    /// Runs a failed step again with all its attempts, or a waiting one now.
    ResetForRetry {
        /// The operator.
        #[schema(min_length = 1, max_length = 255)]
        reset_by: String,
        /// The reason given.
        #[schema(min_length = 1, max_length = 10_000)]
        reason: String,
    },
    /// Counts the step as done, without a result. A decision then chooses no branches, and a
    /// batchable step no batches.
    ResolveManually {
        /// The operator.
        #[schema(min_length = 1, max_length = 255)]
        resolved_by: String,
        /// The reason given.
        #[schema(min_length = 1, max_length = 10_000)]
        reason: String,
    },
    /// Counts the step as complete, with this result.
    CompleteManually {
        /// The result that later steps see.
        #[schema(value_type = Object)]
        completion_data: Map<String, Value>,
        /// The reason given.
        #[schema(min_length = 1, max_length = 10_000)]
        reason: String,
        /// The operator.
        #[schema(min_length = 1, max_length = 255)]
        completed_by: String,
    },
}

/// Act on a step
///
/// `reset_for_retry`, `resolve_manually` or `complete_manually`. The task goes on from there.
#[utoipa::path(
    patch,
    path = "/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task"), ("step_uuid" = Uuid, Path, description = "The step")),
    request_body = StepAction,
    responses(
        (status = 200, description = "The step after the action", body = WorkflowStep),
        (status = 404, description = "`step_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`step_state_conflict`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_body` or `validation_failed`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn patch_workflow_step(
    State(state): State<ApiState>,
    ApiPath((task_uuid, step_uuid)): ApiPath<(Uuid, Uuid)>,
    Exact(action): Exact<StepAction>,
) -> ApiResult<ApiJson<WorkflowStep>> {
    let (name, result, by_field, by, why) = match action {
        StepAction::ResetForRetry { reset_by, reason } => {
            ("reset_for_retry", None, "/reset_by", reset_by, reason)
        }
        StepAction::ResolveManually {
            resolved_by,
            reason,
        } => (
            "resolve_manually",
            None,
            "/resolved_by",
            resolved_by,
            reason,
        ),
        StepAction::CompleteManually {
            completion_data,
            reason,
            completed_by,
        } => (
            "complete_manually",
            Some(completion_data),
            "/completed_by",
            completed_by,
            reason,
        ),
    };
    check_texts(&[(by_field, &by, MAX_PERSON), ("/reason", &why, MAX_NOTE)])?;
    let operation = Operation {
        task_uuid,
        step_uuid,
        action: name,
        result: result.map(Value::Object),
        // The id shows a repetition that the first run took effect.
        metadata: json!({"reason": name, "by": by, "note": why, "operation": Uuid::now_v7()}),
        environment: Arc::clone(&state.environment),
    };
    let outcome = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        Box::pin(operate(connection, operation.clone()))
    });
    let reason = match outcome.await? {
        Operated::Done(step) => return Ok(ApiJson(*step)),
        Operated::Refused(reason) => reason,
        Operated::Invalid(error) => {
            let detail = error.to_string();
            let problem = Problem::new(&kinds::VALIDATION_FAILED, detail.clone());
            return Err(if operation.result.is_some() {
                problem.with_errors(vec![FieldError::new("/completion_data", detail)])
            } else {
                problem
            });
        }
    };
    let conflict = |detail: &'static str| Err(Problem::new(&kinds::STEP_STATE_CONFLICT, detail));
    match reason.as_str() {
        "task_ended" => conflict("The task is complete or cancelled."),
        "step_complete" => conflict("The step is complete."),
        "step_in_progress" => conflict("A worker runs the step now. Wait for its end."),
        "step_waits" => conflict("The step has not failed; it waits for other steps."),
        _ => Err(step_not_found(task_uuid, step_uuid)),
    }
}

/// One recorded end of an attempt.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct StepAudit {
    workflow_step_result_audit_uuid: Uuid,
    workflow_step_transition_uuid: Uuid,
    recorded_at: DateTime<Utc>,
    /// The worker that ran it.
    worker_uuid: Option<Uuid>,
    correlation_id: Option<Uuid>,
    /// False if the attempt failed, and if a cancellation or an operator ended it.
    success: bool,
    /// The duration of the handler, in milliseconds, if it is known.
    execution_time_ms: Option<i64>,
    /// The state that the step was left in.
    to_state: Option<String>,
    /// The reason, and the error of a failure.
    #[schema(value_type = Option<Object>)]
    #[sqlx(json(nullable))]
    metadata: Option<FreeForm>,
    /// True if `metadata` is left out, because the answer would have more than 4 MiB of it. The largest is
    /// left out. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    values_left_out: bool,
}

/// The attempts of a step
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}/audit",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task"), ("step_uuid" = Uuid, Path, description = "The step")),
    responses(
        (status = 200, description = "Its recorded attempts, oldest first", body = Vec<StepAudit>),
        (status = 404, description = "`step_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_step_audit(
    State(state): State<ApiState>,
    ApiPath((task_uuid, step_uuid)): ApiPath<(Uuid, Uuid)>,
) -> ApiResult<ApiJson<Vec<StepAudit>>> {
    let audit = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        Box::pin(async move {
            let audit: Vec<StepAudit> = sqlx::query_as(
                "SELECT a.workflow_step_result_audit_uuid, a.workflow_step_transition_uuid,
                        a.recorded_at::timestamptz, a.worker_uuid, a.correlation_id, a.success,
                        a.execution_time_ms, a.to_state::text,
                        CASE WHEN a.fits THEN a.metadata END AS metadata,
                        NOT a.fits AS values_left_out
                 FROM (
                     SELECT e.*, sum(e.size) OVER (
                                ORDER BY e.size, e.workflow_step_result_audit_uuid) <= $3 AS fits
                     FROM (
                         SELECT s.*,
                                CASE WHEN sum(s.stored) OVER (
                                         ORDER BY s.stored, s.workflow_step_result_audit_uuid) <= $3
                                     THEN coalesce(octet_length(s.metadata::text), 0)
                                     ELSE $3 + 1
                                END AS size
                         FROM (
                             SELECT a.*, x.to_state, x.metadata,
                                    coalesce(pg_column_size(x.metadata), 0) AS stored
                             FROM tasker.workflow_step_result_audit a
                             LEFT JOIN tasker.workflow_step_transitions x
                                 ON x.workflow_step_transition_uuid = a.workflow_step_transition_uuid
                             WHERE a.workflow_step_uuid = $2 AND a.task_uuid = $1
                         ) s
                     ) e
                 ) a
                 ORDER BY a.recorded_at",
            )
            .bind(task_uuid)
            .bind(step_uuid)
            .bind(MAX_VALUES)
            .fetch_all(&mut *connection)
            .await?;
            let exists = !audit.is_empty()
                || sqlx::query_scalar(
                    "SELECT EXISTS (SELECT FROM tasker.workflow_steps
                                    WHERE task_uuid = $1 AND workflow_step_uuid = $2)",
                )
                .bind(task_uuid)
                .bind(step_uuid)
                .fetch_one(connection)
                .await?;
            Ok(exists.then_some(audit))
        })
    });
    audit
        .await?
        .map(ApiJson)
        .ok_or_else(|| step_not_found(task_uuid, step_uuid))
}

/// A worker process.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct WorkerView {
    worker_uuid: Uuid,
    name: String,
    host: String,
    /// The callables that it has handlers for.
    callables: Vec<String>,
    /// The callables that it runs over HTTP, as patterns of SQL's `LIKE`.
    patterns: Vec<String>,
    /// The most steps that it runs at once.
    capacity: i32,
    /// Steps that ran at its last heartbeat.
    running: i32,
    started_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    /// Set if its lease holds.
    alive: bool,
}

/// List workers
#[utoipa::path(
    get,
    path = "/v1/workers",
    tag = "execution",
    responses(
        (status = 200, description = "Workers, and those that were lost in the last hour", body = Vec<WorkerView>),
    )
)]
pub(crate) async fn list_workers(
    State(state): State<ApiState>,
) -> ApiResult<ApiJson<Vec<WorkerView>>> {
    let workers = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        Box::pin(async move {
            sqlx::query_as(
                "SELECT worker_uuid, name, host, callables, patterns, capacity, running, started_at,
                        seen_at,
                        lost_at IS NULL
                            AND seen_at >= now() - lease_seconds * interval '1 second' AS alive
                 FROM tasker.workers ORDER BY started_at LIMIT 10000",
            )
            .fetch_all(connection)
            .await
        })
    });
    Ok(ApiJson(workers.await?))
}

/// The steps of one callable that wait.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct CallableQueue {
    callable: String,
    /// Steps that can be claimed now.
    due: i64,
    /// Steps that run again later.
    later: i64,
    /// Steps that run.
    claimed: i64,
    /// The age of the oldest that can be claimed, in seconds.
    oldest_age_seconds: Option<f64>,
    /// Set if a live worker has a handler.
    has_worker: bool,
}

/// Read the queue
#[utoipa::path(
    get,
    path = "/v1/queue",
    tag = "execution",
    responses(
        (status = 200, description = "The queue by callable, the oldest first", body = Vec<CallableQueue>),
    )
)]
pub(crate) async fn get_queue(
    State(state): State<ApiState>,
) -> ApiResult<ApiJson<Vec<CallableQueue>>> {
    let queue = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        Box::pin(async move {
            sqlx::query_as(
                "SELECT q.callable,
                        count(*) FILTER (WHERE q.claimed_by IS NULL AND q.due_at <= now()) AS due,
                        count(*) FILTER (WHERE q.claimed_by IS NULL AND q.due_at > now()) AS later,
                        count(*) FILTER (WHERE q.claimed_by IS NOT NULL) AS claimed,
                        extract(epoch FROM now() - min(q.due_at) FILTER (
                            WHERE q.claimed_by IS NULL AND q.due_at <= now()))::float8
                            AS oldest_age_seconds,
                        EXISTS (
                            SELECT FROM tasker.workers w
                            WHERE w.lost_at IS NULL
                                AND w.seen_at >= now() - w.lease_seconds * interval '1 second'
                                AND (q.callable = ANY (w.callables)
                                     OR q.callable LIKE ANY (w.patterns))) AS has_worker
                 FROM tasker.step_queue q GROUP BY q.callable
                 ORDER BY oldest_age_seconds DESC NULLS LAST",
            )
            .fetch_all(connection)
            .await
        })
    });
    Ok(ApiJson(queue.await?))
}
