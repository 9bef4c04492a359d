//! `/v1/templates/cache`: templates in the caches of this process.

use axum::extract::State;
use tasker_shared::registry::inspection::CacheEntries;
use tasker_web::cache_entries::{self, EntriesQuery};
use tasker_web::{ApiJson, ApiQuery, ApiResult};

use crate::web::state::ApiState;

/// List cached templates
///
/// With `verify=true` each entry is compared with Redis and the database.
#[utoipa::path(
    get, path = "/v1/templates/cache/entries", tag = "cache", params(EntriesQuery),
    responses(
        (status = 200, description = "The cached templates", body = CacheEntries),
    )
)]
pub(crate) async fn list_cache_entries(
    State(state): State<ApiState>,
    ApiQuery(query): ApiQuery<EntriesQuery>,
) -> ApiResult<ApiJson<CacheEntries>> {
    cache_entries::answer(&state.registry, query).await
}
