//! `/v1/dlq`: tasks that failed, for people to look into.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use tasker_shared::database;
use tasker_shared::models::core::task_template::FreeForm;
use tasker_web::ProblemBody;
use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiJson, ApiPath, ApiQuery, ApiResult, Problem};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::checks::{Exact, MAX_NOTE, MAX_PERSON, check_texts};
use super::tasks::{check_value, next_cursor, page_size};
use crate::QUERY_LIMIT;
use crate::models::workflow_step::MAX_VALUES;
use crate::web::state::ApiState;

const STATUSES: [&str; 4] = [
    "pending",
    "manually_resolved",
    "permanently_failed",
    "cancelled",
];

/// A task that failed.
#[expect(
    clippy::struct_field_names,
    reason = "clients know the fields by these names"
)]
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct DlqEntry {
    dlq_entry_uuid: Uuid,
    /// The task.
    task_uuid: Uuid,
    /// The task's state before it failed.
    original_state: String,
    /// The reason, such as `max_retries_exceeded`.
    dlq_reason: String,
    /// The time of the failure.
    dlq_timestamp: DateTime<Utc>,
    /// `pending`, `manually_resolved`, `permanently_failed` or `cancelled`.
    resolution_status: String,
    resolution_timestamp: Option<DateTime<Utc>>,
    resolution_notes: Option<String>,
    /// The operator.
    resolved_by: Option<String>,
    #[schema(value_type = Option<Object>)]
    #[sqlx(json(nullable))]
    metadata: Option<FreeForm>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// True if `metadata` is left out of a list that would have more than 4 MiB of it, or `task_snapshot`
    /// of more than 4 MiB is empty. Read the entry, or the task and its steps. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    values_left_out: bool,
}

/// A task that failed, as it was then.
#[derive(Debug, Serialize, FromRow, ToSchema)]
pub(crate) struct DlqEntryDetails {
    #[sqlx(flatten)]
    #[serde(flatten)]
    entry: DlqEntry,
    /// The task when it failed: its context, and the first 100 of its failed steps.
    #[schema(value_type = Object)]
    #[sqlx(json)]
    task_snapshot: FreeForm,
}

macro_rules! columns {
    () => {
        "d.dlq_entry_uuid, d.task_uuid, d.original_state::text, d.dlq_reason::text,
         d.dlq_timestamp::timestamptz, d.resolution_status::text,
         d.resolution_timestamp::timestamptz, d.resolution_notes, d.resolved_by::text, d.metadata,
         d.created_at::timestamptz, d.updated_at::timestamptz"
    };
}

/// Which entries to list, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListDlq {
    /// Only entries with this status: `pending`, `manually_resolved`, `permanently_failed` or
    /// `cancelled`.
    #[param(example = "pending")]
    resolution_status: Option<String>,
    /// Only entries of this task.
    task_uuid: Option<Uuid>,
    /// Size of the page, from 1 to 100. Default 20.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<i64>,
    /// `next_cursor` of the previous page.
    cursor: Option<Uuid>,
}

/// A page of entries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DlqList {
    /// The entries, newest first.
    entries: Vec<DlqEntry>,
    /// The cursor of the next page. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Uuid>,
}

/// List failed tasks
///
/// Newest first. A task has an entry for each time that it ended in `error`.
#[utoipa::path(
    get,
    path = "/v1/dlq",
    tag = "dlq",
    params(ListDlq),
    responses(
        (status = 200, description = "A page of entries", body = DlqList),
        (status = 422, description = "`validation_failed`: no entry can have this `resolution_status`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_dlq(
    State(state): State<ApiState>,
    ApiQuery(query): ApiQuery<ListDlq>,
) -> ApiResult<ApiJson<DlqList>> {
    let limit = page_size(query.limit)?;
    let status = query.resolution_status.as_deref();
    check_value("resolution_status", status, &STATUSES)?;
    let statuses: Vec<String> = match status {
        Some(status) => vec![status.to_owned()],
        None => STATUSES.map(ToOwned::to_owned).to_vec(),
    };
    let (task_uuid, cursor) = (query.task_uuid, query.cursor.unwrap_or(Uuid::max()));
    // One more row than the page holds shows that there is a next page.
    let found = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        let statuses = statuses.clone();
        Box::pin(async move {
            let sql = match task_uuid {
                Some(_) => OF_TASK,
                None => OF_STATUSES,
            };
            let mut list = sqlx::query_as(sql)
                .bind(statuses)
                .bind(cursor)
                .bind(limit + 1)
                .bind(MAX_VALUES);
            if let Some(task_uuid) = task_uuid {
                list = list.bind(task_uuid);
            }
            list.fetch_all(connection).await
        })
    });
    let mut entries: Vec<DlqEntry> = found.await?;
    let next_cursor = next_cursor(&mut entries, limit, |entry| entry.dlq_entry_uuid);
    Ok(ApiJson(DlqList {
        entries,
        next_cursor,
    }))
}

/// Selects a page of entries with at most $4 bytes of metadata, the smallest of it.
macro_rules! page {
    ($($entries:expr),+) => {
        concat!(
            "SELECT l.dlq_entry_uuid, l.task_uuid, l.original_state, l.dlq_reason, l.dlq_timestamp,
                    l.resolution_status, l.resolution_timestamp, l.resolution_notes, l.resolved_by,
                    CASE WHEN l.fits THEN l.metadata END AS metadata, l.created_at, l.updated_at,
                    NOT l.fits AS values_left_out
             FROM (
                 SELECT s.*, sum(s.size) OVER (ORDER BY s.size, s.dlq_entry_uuid) <= $4 AS fits
                 FROM (
                     SELECT d.*, coalesce(octet_length(d.metadata::text), 0) AS size FROM (",
            $($entries),+,
            "        ) d
                 ) s
             ) l
             ORDER BY l.dlq_entry_uuid DESC"
        )
    };
}

const OF_TASK: &str = page!(
    "SELECT ",
    columns!(),
    " FROM tasker.tasks_dlq d
      WHERE d.task_uuid = $5 AND d.resolution_status::text = ANY ($1) AND d.dlq_entry_uuid < $2
      ORDER BY d.dlq_entry_uuid DESC LIMIT $3"
);

/// The newest of each status, so that the few that are pending are not looked for among all others.
const OF_STATUSES: &str = page!(
    "SELECT d.* FROM unnest($1::tasker.dlq_resolution_status[]) s (status)
     CROSS JOIN LATERAL (
         SELECT ",
    columns!(),
    "    FROM tasker.tasks_dlq d
         WHERE d.resolution_status = s.status AND d.dlq_entry_uuid < $2
         ORDER BY d.dlq_entry_uuid DESC LIMIT $3
     ) d
     ORDER BY d.dlq_entry_uuid DESC LIMIT $3"
);

/// Get a failed task
#[utoipa::path(
    get,
    path = "/v1/dlq/{dlq_entry_uuid}",
    tag = "dlq",
    params(("dlq_entry_uuid" = Uuid, Path, description = "The entry")),
    responses(
        (status = 200, description = "The entry", body = DlqEntryDetails),
        (status = 404, description = "`dlq_entry_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_dlq_entry(
    State(state): State<ApiState>,
    ApiPath(entry): ApiPath<Uuid>,
) -> ApiResult<ApiJson<DlqEntryDetails>> {
    let found = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        Box::pin(find(connection, entry))
    });
    found.await?.map(ApiJson).ok_or_else(|| not_found(entry))
}

async fn find(
    connection: &mut PgConnection,
    entry: Uuid,
) -> Result<Option<DlqEntryDetails>, sqlx::Error> {
    // The size as stored counts first, because the exact one of a large snapshot would take too long.
    sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        ", CASE WHEN s.fits THEN d.task_snapshot ELSE '{}' END AS task_snapshot,
           NOT s.fits AS values_left_out
         FROM tasker.tasks_dlq d
         CROSS JOIN LATERAL (
             SELECT CASE WHEN pg_column_size(d.task_snapshot) <= $2
                         THEN octet_length(d.task_snapshot::text) <= $2
                         ELSE false
                    END AS fits
             OFFSET 0
         ) s
         WHERE d.dlq_entry_uuid = $1"
    ))
    .bind(entry)
    .bind(MAX_VALUES)
    .fetch_optional(connection)
    .await
}

fn not_found(entry: Uuid) -> Problem {
    Problem::new(
        &kinds::DLQ_ENTRY_NOT_FOUND,
        format!("There is no entry {entry}."),
    )
}

/// The way in which a failed task was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DlqResolution {
    /// The matter was settled outside, or by actions on steps.
    ManuallyResolved,
    /// Nothing can be done.
    PermanentlyFailed,
    /// The matter does not need to be settled any more.
    Cancelled,
}

/// The resolution of an entry.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DlqUpdate {
    resolution_status: DlqResolution,
    /// The operator.
    #[schema(min_length = 1, max_length = 255)]
    resolved_by: String,
    /// The reason given.
    #[schema(min_length = 1, max_length = 10_000)]
    resolution_notes: Option<String>,
    /// Added to the entry's metadata.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Resolve a failed task
///
/// Records how it was dealt with, and does not change the task: act on its steps for that, which
/// resolves its pending entry as well.
#[utoipa::path(
    patch,
    path = "/v1/dlq/{dlq_entry_uuid}",
    tag = "dlq",
    params(("dlq_entry_uuid" = Uuid, Path, description = "The entry")),
    request_body = DlqUpdate,
    responses(
        (status = 200, description = "The entry with its resolution", body = DlqEntryDetails),
        (status = 404, description = "`dlq_entry_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "`dlq_entry_resolved`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_body` or `validation_failed`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn patch_dlq_entry(
    State(state): State<ApiState>,
    ApiPath(entry): ApiPath<Uuid>,
    Exact(update): Exact<DlqUpdate>,
) -> ApiResult<ApiJson<DlqEntryDetails>> {
    let mut texts = vec![("/resolved_by", &*update.resolved_by, MAX_PERSON)];
    texts.extend(
        update
            .resolution_notes
            .as_deref()
            .map(|notes| ("/resolution_notes", notes, MAX_NOTE)),
    );
    check_texts(&texts)?;
    let status: &str = update.resolution_status.into();
    let (by, notes) = (update.resolved_by, update.resolution_notes);
    let metadata = Json(update.metadata.unwrap_or_default());
    let resolved = database::run_idempotent(&state.pool, QUERY_LIMIT, |connection| {
        let (by, notes) = (by.clone(), notes.clone());
        let metadata = metadata.clone();
        Box::pin(async move {
            sqlx::query(
                "UPDATE tasker.tasks_dlq
                 SET resolution_status = $2::tasker.dlq_resolution_status, resolved_by = $3,
                     resolution_notes = $4, metadata = coalesce(metadata, '{}') || $5,
                     resolution_timestamp = now(), updated_at = now()
                 WHERE dlq_entry_uuid = $1 AND resolution_status = 'pending'",
            )
            .bind(entry)
            .bind(status)
            .bind(by)
            .bind(notes)
            .bind(&metadata)
            .execute(&mut *connection)
            .await?;
            let has_metadata: Option<bool> = sqlx::query_scalar(
                "SELECT coalesce(metadata, '{}') || $2 = coalesce(metadata, '{}')
                 FROM tasker.tasks_dlq WHERE dlq_entry_uuid = $1",
            )
            .bind(entry)
            .bind(&metadata)
            .fetch_optional(&mut *connection)
            .await?;
            Ok(find(connection, entry).await?.zip(has_metadata))
        })
    });
    let (found, has_metadata) = resolved.await?.ok_or_else(|| not_found(entry))?;
    // The same resolution is not refused, because the answer to an earlier request may have been lost.
    let is_same = found.entry.resolution_status == status
        && found.entry.resolved_by.as_ref() == Some(&by)
        && found.entry.resolution_notes == notes
        && has_metadata;
    if !is_same {
        return Err(Problem::new(
            &kinds::DLQ_ENTRY_RESOLVED,
            format!(
                "The entry is resolved as {}.",
                found.entry.resolution_status
            ),
        ));
    }
    tracing::info!(dlq_entry_uuid = %entry, task_uuid = %found.entry.task_uuid, status, by, "failed task resolved");
    Ok(ApiJson(found))
}
