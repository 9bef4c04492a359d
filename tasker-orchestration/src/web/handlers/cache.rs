//! `/v1/templates/cache`: what this process has cached.

use axum::extract::State;
use tasker_shared::registry::inspection::CacheEntries;
use tasker_web::ProblemBody;
use tasker_web::cache_entries::{self, EntriesQuery};
use tasker_web::{ApiJson, ApiQuery, ApiResult};

use crate::web::routes::ApiState;

/// What the caches hold of each template, and whether it agrees with the database
#[utoipa::path(
    get, path = "/v1/templates/cache/entries", tag = "cache", params(EntriesQuery),
    responses(
        (status = 200, body = CacheEntries),
        (status = 503, description = "PostgreSQL does not answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_cache_entries(
    State(state): State<ApiState>,
    ApiQuery(query): ApiQuery<EntriesQuery>,
) -> ApiResult<ApiJson<CacheEntries>> {
    cache_entries::answer(&state.registry, query).await
}
