//! `/v1/analytics`

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use std::sync::Arc;
use tasker_shared::database::DatabaseError;
use tasker_shared::registry::RegistryError;
use tasker_web::{ApiQuery, ApiResult, Problem, bad_query};
use utoipa::IntoParams;

use crate::analytics::{self, BottleneckAnalysis, CachedAnswer, PerformanceMetrics};
use crate::web::state::ApiState;

/// 30 days, for which the sums are kept.
const MAX_HOURS: u32 = 720;
const MAX_ROWS: u32 = 100;
/// The header with the age of an answer, in seconds.
const AGE: HeaderName = header::AGE;

/// The period.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PerformanceQuery {
    /// The length of the period in hours, from 1 to 720. Default 24.
    #[param(minimum = 1, maximum = 720, default = 24)]
    hours: Option<u32>,
}

/// Measure tasks
///
/// Speed and failures of the tasks of a period that begins with a full hour. Kept in the cache for
/// `analytics_ttl_seconds`; `Age` is the age of the answer.
#[utoipa::path(
    get,
    path = "/v1/analytics/performance",
    tag = "analytics",
    params(PerformanceQuery),
    responses(
        (status = 200, description = "The figures", body = PerformanceMetrics, headers(
            ("age" = u64, description = "Seconds since the figures were computed"),
            ("cache-control" = String, description = "The time for which they are kept"))),
    )
)]
pub(crate) async fn get_performance(
    State(state): State<ApiState>,
    ApiQuery(query): ApiQuery<PerformanceQuery>,
) -> ApiResult<Response> {
    let hours = query.hours.unwrap_or(24);
    if !(1..=MAX_HOURS).contains(&hours) {
        return Err(bad_query("hours", format!("must be from 1 to {MAX_HOURS}")));
    }
    let pool = state.pool.clone();
    let parts = ["performance", &hours.to_string()];
    let computing = || async move { analytics::performance(&pool, hours).await };
    let answer = state.analytics.answer(&parts, computing).await;
    respond(answer)
}

/// The number of rows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BottlenecksQuery {
    /// The most steps and tasks that are listed, from 1 to 100. Default 10.
    #[param(minimum = 1, maximum = 100, default = 10)]
    limit: Option<u32>,
    /// The fewest executions of a step or template that is listed. Default 5.
    #[param(minimum = 1, default = 5)]
    min_executions: Option<u32>,
}

/// Find bottlenecks
///
/// The slowest steps and tasks of the last 24 hours. Kept in the cache for `analytics_ttl_seconds`;
/// `Age` is the age of the answer.
#[utoipa::path(
    get,
    path = "/v1/analytics/bottlenecks",
    tag = "analytics",
    params(BottlenecksQuery),
    responses(
        (status = 200, description = "The analysis", body = BottleneckAnalysis, headers(
            ("age" = u64, description = "Seconds since the analysis was computed"),
            ("cache-control" = String, description = "The time for which it is kept"))),
    )
)]
pub(crate) async fn get_bottlenecks(
    State(state): State<ApiState>,
    ApiQuery(query): ApiQuery<BottlenecksQuery>,
) -> ApiResult<Response> {
    let limit = query.limit.unwrap_or(10);
    if !(1..=MAX_ROWS).contains(&limit) {
        return Err(bad_query("limit", format!("must be from 1 to {MAX_ROWS}")));
    }
    let least = query.min_executions.unwrap_or(5);
    if least == 0 {
        return Err(bad_query(
            "min_executions",
            String::from("must be at least 1"),
        ));
    }
    let pool = state.pool.clone();
    let parts = ["bottlenecks", &limit.to_string(), &least.to_string()];
    let computing = || async move { analytics::bottlenecks(&pool, limit, least).await };
    let answer = state.analytics.answer(&parts, computing).await;
    respond(answer)
}

fn respond(answer: Result<CachedAnswer, Arc<DatabaseError>>) -> ApiResult<Response> {
    let answer = answer.map_err(|error| Problem::from(RegistryError::Database(error)))?;
    let keeping = match answer.ttl {
        Some(ttl) => format!("private, max-age={}", ttl.as_secs()),
        None => String::from("no-store"),
    };
    let keeping = HeaderValue::try_from(keeping).map_err(Problem::internal)?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, keeping),
        (AGE, HeaderValue::from(answer.age.as_secs())),
    ];
    Ok((headers, answer.json.to_string()).into_response())
}
