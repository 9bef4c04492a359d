//! `/v1/tasks`

use std::collections::BTreeMap;
use std::time::Duration;

use crate::models::task::{self, TaskFilter, TaskSummary};
use crate::models::workflow_step::{self, WorkflowStep};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use tasker_shared::database;
use tasker_shared::models::core::task_request::TaskRequest;
use tasker_web::ProblemBody;
use tasker_web::problem_kinds as kinds;
use tasker_web::{
    ApiJson, ApiPath, ApiQuery, ApiResult, FieldError, Page, PageQuery, Problem, Waiting,
    bad_query, resolve_problem,
};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::QUERY_LIMIT;
use crate::task_initialization::{InitializedTask, TaskInitializationError};
use crate::web::handlers::task_details::TaskDetails;
use crate::web::state::ApiState;

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
/// The steps of a list without a `limit`: more than any task has. The values in a list are bounded.
const ALL_STEPS: i64 = 10_000_000;
/// The longest that a request waits for the end of a task. Proxies seldom allow more.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// The answer to a task request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskCreated {
    /// The task.
    task_uuid: Uuid,
    /// The task's state, `pending` for a new task.
    status: String,
    /// The time at which the task was created.
    created_at: DateTime<Utc>,
    /// Number of steps.
    step_count: usize,
    /// The ids of the steps, by name.
    step_mapping: BTreeMap<String, Uuid>,
    /// True if this request created the task.
    created: bool,
    /// The task that an earlier request with the same identity created. Absent if this request
    /// created the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    deduplicated_from: Option<Uuid>,
    /// The hash of the template from which the task was created, if known.
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

/// Create a task
///
/// The task and its first steps are created in one transaction. A request with the same identity as
/// an earlier one returns the task of the earlier request. The identity is the `idempotency_key` if
/// the request has one, otherwise the template's identity strategy defines it.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    tag = "tasks",
    params(CreateTask),
    request_body = TaskRequest,
    responses(
        (status = 201, description = "Task created", body = TaskCreated, headers(("location" = String, description = "The task's path"))),
        (status = 200, description = "Task of an earlier request with the same identity", body = TaskCreated, headers(("location" = String, description = "The task's path"))),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`template_changed`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_body`, `validation_failed`, `context_invalid`, `context_too_complex`, `idempotency_key_required` or `template_schema_invalid`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`task_uncertain`: the task in `instance` may have been created; `database_unavailable`, `busy`, `template_directory_stale` or `template_changing`: it was not", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn create_task(
    State(state): State<ApiState>,
    waiting: Waiting,
    ApiQuery(query): ApiQuery<CreateTask>,
    ApiJson(request): ApiJson<TaskRequest>,
) -> ApiResult<Response> {
    let task = match query.wait {
        None => {
            let created = state.initializer.initialize(request).await;
            created_or_problem(&state, created).await?
        }
        Some(wait) => create_and_wait(&state, &waiting, request, &wait).await?,
    };
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

/// Parameters of a task request.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CreateTask {
    /// Answers when the task has ended or this time is over, such as `30s` or `500ms`, with the task's
    /// state then. 60 seconds at most; less if the service stops.
    #[param(example = "30s")]
    wait: Option<String>,
}

async fn created_or_problem(
    state: &ApiState,
    created: Result<InitializedTask, TaskInitializationError>,
) -> ApiResult<InitializedTask> {
    match created {
        Ok(task) => Ok(task),
        Err(TaskInitializationError::Template(error)) => {
            Err(resolve_problem(&state.catalog, error).await)
        }
        Err(error) => Err(error.into()),
    }
}

async fn create_and_wait(
    state: &ApiState,
    waiting: &Waiting,
    request: TaskRequest,
    wait: &str,
) -> ApiResult<InitializedTask> {
    let wait = duration(wait).ok_or_else(|| {
        bad_query(
            "wait",
            String::from("must be a time such as `30s` or `500ms`"),
        )
    })?;
    let wait = wait.min(LONGEST_WAIT);
    let deadline = Instant::now() + wait;
    let created = state.initializer.initialize_awaited(request).await;
    let mut task = created_or_problem(state, created).await?;
    waiting.begin(wait);
    let draining = state.lifecycle.draining();
    let ended = tokio::select! {
        ended = end_of(state, &task, deadline) => ended,
        // The service stops sooner than the longest wait is over.
        () = draining.cancelled() => None,
    };
    // The task exists, so a failure from here on must not hide it.
    match ended {
        Some(ended) => task.status = ended,
        None => match state.ends.state(task.task_uuid).await {
            Ok(status) => task.status = status,
            Err(error) => {
                tracing::warn!(%error, "the state of a task cannot be read after the wait");
            }
        },
    }
    Ok(task)
}

/// Returns the state in which the task ended, or nothing at `deadline`.
async fn end_of(state: &ApiState, task: &InitializedTask, deadline: Instant) -> Option<String> {
    if task.created {
        return state.ends.wait(task.task_uuid, deadline).await;
    }
    // An announcement may be of an end before an operator put the task back to work, so the task is
    // looked at after each.
    loop {
        match state.ends.expect(task.task_uuid).await {
            Ok(Some(ended)) => return Some(ended),
            Ok(None) => {
                state.ends.wait(task.task_uuid, deadline).await?;
            }
            Err(error) => {
                tracing::warn!(%error, "the end of a task cannot be waited for");
                return state.ends.wait(task.task_uuid, deadline).await;
            }
        }
    }
}

/// Reads a number with `ms`, `s` or `m`; without a unit it is seconds.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u32 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" | "" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_mins(number.into())),
        _ => None,
    }
}

/// Which tasks to list, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTasks {
    /// Only tasks of templates in this namespace.
    namespace: Option<String>,
    /// Only tasks of templates with this name.
    name: Option<String>,
    /// Only tasks that are in this state now: `pending`, `initializing`, `enqueuing_steps`,
    /// `steps_in_process`, `evaluating_results`, `waiting_for_dependencies`, `waiting_for_retry`,
    /// `blocked_by_failures`, `complete`, `error`, `cancelled` or `resolved_manually`.
    #[param(example = "error")]
    status: Option<String>,
    /// Size of the page, from 1 to 100. Default 20.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the previous page.
    cursor: Option<Uuid>,
}

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskList {
    /// The tasks, newest first.
    tasks: Vec<TaskSummary>,
    /// The cursor of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Uuid>,
}

/// List tasks
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/tasks",
    tag = "tasks",
    params(ListTasks),
    responses(
        (status = 200, description = "A page of tasks", body = TaskList),
        (status = 422, description = "`validation_failed`: no task can have this `status`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_tasks(
    State(state): State<ApiState>,
    ApiQuery(query): ApiQuery<ListTasks>,
) -> ApiResult<ApiJson<TaskList>> {
    let limit = page_size(query.limit)?;
    check_value("status", query.status.as_deref(), &task::STATES)?;
    let filter = TaskFilter {
        namespace: query.namespace,
        name: query.name,
        status: query.status,
        before: query.cursor,
    };
    // One more row than the page holds shows that there is a next page.
    let mut tasks = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        let filter = filter.clone();
        Box::pin(async move { task::list(connection, &filter, limit + 1).await })
    })
    .await?;
    let next_cursor = next_cursor(&mut tasks, limit, |task| task.task_uuid);
    Ok(ApiJson(TaskList { tasks, next_cursor }))
}

/// Get a task
///
/// With all its steps, and 4 MiB of their values at most. Beyond that, the steps with the largest values have
/// `values_left_out`.
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_uuid}",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task")),
    responses(
        (status = 200, description = "The task", body = TaskDetails),
        (status = 404, description = "`task_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_task(
    State(state): State<ApiState>,
    ApiPath(task_uuid): ApiPath<Uuid>,
) -> ApiResult<ApiJson<TaskDetails>> {
    let found = database::run_idempotent(&state.pool, QUERY_LIMIT, move |connection| {
        Box::pin(async move {
            let found = task::find(connection, task_uuid).await?;
            Ok(found.map(|(task, steps)| TaskDetails::new(task, steps)))
        })
    });
    found
        .await?
        .map(ApiJson)
        .ok_or_else(|| task_not_found(task_uuid))
}

/// Selects a page of the steps of a task.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListSteps {
    /// Size of the page, from 1 to 1000. Default: all steps.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
    /// The cursor of the page, from the answer with the previous page.
    cursor: Option<String>,
}

/// List the steps of a task
///
/// Oldest first: all of them, or pages of `limit`, whose header `link` has the address of the next one. An
/// answer has 4 MiB of values at most. Beyond that, the steps with the largest values have `values_left_out`.
#[utoipa::path(
    get,
    path = "/v1/tasks/{task_uuid}/workflow_steps",
    tag = "tasks",
    params(("task_uuid" = Uuid, Path, description = "The task"), ListSteps),
    responses(
        (status = 200, description = "The steps of the task", body = Vec<WorkflowStep>, headers(("link" = String, description = "The next page"))),
        (status = 404, description = "`task_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_workflow_steps(
    State(state): State<ApiState>,
    ApiPath(task_uuid): ApiPath<Uuid>,
    uri: Uri,
    ApiQuery(query): ApiQuery<ListSteps>,
) -> ApiResult<Response> {
    let is_paged = query.limit.is_some();
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let limit = if is_paged { page.limit()? } else { ALL_STEPS };
    let after = page.after()?.unwrap_or(Uuid::nil());
    let steps = database::run_idempotent(&state.pool, QUERY_LIMIT, move |connection| {
        Box::pin(async move {
            let steps =
                workflow_step::list_for_task(connection, task_uuid, after, limit + 1).await?;
            // An empty list needs a second query, because a task can have no steps.
            let exists = !steps.is_empty() || task::exists(connection, task_uuid).await?;
            Ok(exists.then_some(steps))
        })
    });
    let steps = steps.await?.ok_or_else(|| task_not_found(task_uuid))?;
    let page = Page::new(steps, limit, |step: &WorkflowStep| step.workflow_step_uuid);
    Ok(page.into_array(&uri, limit))
}

/// Returns the size of a page.
pub(super) fn page_size(limit: Option<i64>) -> ApiResult<i64> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(bad_query("limit", format!("must be from 1 to {MAX_LIMIT}")))
    }
}

/// Cuts `rows` to the page. Returns the cursor of the next page if there were more.
pub(super) fn next_cursor<T>(
    rows: &mut Vec<T>,
    limit: i64,
    cursor: impl FnOnce(&T) -> Uuid,
) -> Option<Uuid> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| more).map(cursor)
}

/// Refuses the value of a parameter that is none of `allowed`.
pub(super) fn check_value(name: &str, value: Option<&str>, allowed: &[&str]) -> ApiResult<()> {
    match value {
        Some(value) if !allowed.contains(&value) => {
            let error = format!("must be one of {}", allowed.join(", "));
            let detail = format!("`{name}` in the query string is not valid: {error}.");
            let errors = vec![FieldError::new(name, error)];
            Err(Problem::new(&kinds::VALIDATION_FAILED, detail).with_errors(errors))
        }
        _ => Ok(()),
    }
}

pub(super) fn task_not_found(task_uuid: Uuid) -> Problem {
    Problem::new(
        &kinds::TASK_NOT_FOUND,
        format!("Task {task_uuid} does not exist."),
    )
}
