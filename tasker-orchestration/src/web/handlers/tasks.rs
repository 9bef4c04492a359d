//! `/v1/tasks`

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use tasker_shared::database;
use tasker_shared::models::core::task::{self, Task, TaskFilter, TaskSummary};
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_shared::models::core::workflow_step::{self, WorkflowStep};
use tasker_web::ProblemBody;
use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiJson, ApiPath, ApiQuery, ApiResult, FieldError, Problem};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::QUERY_LIMIT;
use crate::task_initialization::InitializedTask;
use crate::web::routes::ApiState;

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;

/// The answer to a task request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskCreated {
    /// The task.
    task_uuid: Uuid,
    /// Its state, `pending` when it is new.
    status: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// How many steps it has.
    step_count: usize,
    /// The ids of its steps, by name.
    step_mapping: BTreeMap<String, Uuid>,
    /// Whether this request made it.
    created: bool,
    /// The task that an earlier request with the same identity made; absent when this one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    deduplicated_from: Option<Uuid>,
    /// The content hash of the template that it was made from, if that is known.
    template_hash: Option<String>,
}

impl From<InitializedTask> for TaskCreated {
    fn from(task: InitializedTask) -> Self {
        Self {
            task_uuid: task.task_uuid,
            status: task.status,
            created_at: task.created_at,
            step_count: task.step_mapping.len(),
            step_mapping: task.step_mapping,
            created: task.created,
            deduplicated_from: (!task.created).then_some(task.task_uuid),
            template_hash: task.template_hash,
        }
    }
}

/// Asks for a task
///
/// The task and its first steps are made at once, or not at all. A request with the same identity
/// as an earlier one is answered with the earlier one's task: the identity is the
/// `idempotency_key` if there is one, else what the template's identity strategy says.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    tag = "tasks",
    request_body = TaskRequest,
    responses(
        (status = 201, description = "The task was made", body = TaskCreated, headers(("location" = String, description = "The task's path"))),
        (status = 200, description = "An earlier request made it", body = TaskCreated, headers(("location" = String, description = "The task's path"))),
        (status = 400, description = "`invalid_json`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`template_changed`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "`body_too_large`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_body`, `validation_failed`, `context_invalid`, `idempotency_key_required` or `template_schema_invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`database_unavailable` or `template_directory_stale`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "`request_timeout`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create_task(
    State(state): State<ApiState>,
    ApiJson(request): ApiJson<TaskRequest>,
) -> ApiResult<Response> {
    let task = state.initializer.initialize(request).await?;
    let status = if task.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = format!("/v1/tasks/{}", task.task_uuid);
    Ok((
        status,
        [(header::LOCATION, location)],
        ApiJson(TaskCreated::from(task)),
    )
        .into_response())
}

/// Which tasks to list, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTasks {
    /// Of templates in this namespace.
    namespace: Option<String>,
    /// Of templates of this name.
    name: Option<String>,
    /// In this state now, such as `pending`.
    status: Option<String>,
    /// How many, from 1 to 100. Default 20.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<Uuid>,
}

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskList {
    /// The tasks, newest first.
    tasks: Vec<TaskSummary>,
    /// Where the next page starts; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Uuid>,
}

/// Lists tasks, newest first
#[utoipa::path(
    get,
    path = "/v1/tasks",
    tag = "tasks",
    params(ListTasks),
    responses(
        (status = 200, description = "A page of tasks", body = TaskList),
        (status = 400, description = "`invalid_query_parameter`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`database_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_tasks(
    State(state): State<ApiState>,
    ApiQuery(query): ApiQuery<ListTasks>,
) -> ApiResult<ApiJson<TaskList>> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(bad_query("limit", format!("must be from 1 to {MAX_LIMIT}")));
    }
    let filter = TaskFilter {
        namespace: query.namespace,
        name: query.name,
        status: query.status,
        before: query.cursor,
    };
    for (parameter, text) in [
        ("namespace", &filter.namespace),
        ("name", &filter.name),
        ("status", &filter.status),
    ] {
        if text.as_deref().is_some_and(|text| text.contains('\0')) {
            return Err(bad_query(
                parameter,
                String::from("must not contain the character U+0000"),
            ));
        }
    }
    // One more than asked for tells whether there is a next page.
    let mut tasks = database::read(&state.pool, QUERY_LIMIT, |connection| {
        let filter = filter.clone();
        Box::pin(async move { task::list(connection, &filter, limit + 1).await })
    })
    .await?;
    let more = tasks.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        tasks.pop();
    }
    let next_cursor = tasks.last().filter(|_| more).map(|task| task.task_uuid);
    Ok(ApiJson(TaskList { tasks, next_cursor }))
}

/// One task
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_uuid}",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task")),
    responses(
        (status = 200, description = "The task", body = Task),
        (status = 400, description = "`invalid_path_parameter`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`task_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`database_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_task(
    State(state): State<ApiState>,
    ApiPath(task_uuid): ApiPath<Uuid>,
) -> ApiResult<ApiJson<Task>> {
    let found = database::read(&state.pool, QUERY_LIMIT, move |connection| {
        Box::pin(task::find(connection, task_uuid))
    });
    found
        .await?
        .map(ApiJson)
        .ok_or_else(|| task_not_found(task_uuid))
}

/// The steps of a task, oldest first
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_uuid}/workflow_steps",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task")),
    responses(
        (status = 200, description = "Its steps", body = Vec<WorkflowStep>),
        (status = 400, description = "`invalid_path_parameter`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "`task_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`database_unavailable`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_workflow_steps(
    State(state): State<ApiState>,
    ApiPath(task_uuid): ApiPath<Uuid>,
) -> ApiResult<ApiJson<Vec<WorkflowStep>>> {
    let steps = database::read(&state.pool, QUERY_LIMIT, move |connection| {
        Box::pin(async move {
            let steps = workflow_step::list_for_task(connection, task_uuid).await?;
            // A task can have no steps; then it takes a second look to tell it from no task.
            let exists = !steps.is_empty() || task::exists(connection, task_uuid).await?;
            Ok(exists.then_some(steps))
        })
    });
    steps
        .await?
        .map(ApiJson)
        .ok_or_else(|| task_not_found(task_uuid))
}

fn task_not_found(task_uuid: Uuid) -> Problem {
    Problem::new(
        &kinds::TASK_NOT_FOUND,
        format!("There is no task {task_uuid}."),
    )
}

fn bad_query(parameter: &str, detail: String) -> Problem {
    Problem::new(
        &kinds::INVALID_QUERY_PARAMETER,
        format!("`{parameter}` {detail}."),
    )
    .with_errors(vec![FieldError::new(parameter, detail)])
}
