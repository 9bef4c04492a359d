//! `GET .../templates/cache/entries` of both services: lists the cached templates.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::extract::ApiJson;
use crate::problem::ApiResult;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_shared::registry::inspection::{CacheEntries, Inspection};

/// Selects templates and the depth of the inspection.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EntriesQuery {
    /// Only templates of this namespace.
    namespace: Option<String>,
    /// Skips this many templates, in the order of names. Default 0.
    #[serde(default)]
    offset: usize,
    /// Returns at most this many: up to 1000, up to 100 with `verify`. Default 100.
    #[serde(default = "default_limit")]
    limit: usize,
    /// Compares each entry with the database and hashes whole documents before answering.
    #[serde(default)]
    verify: bool,
}

const fn default_limit() -> usize {
    100
}

/// Returns the cached templates of this process that `query` selects.
///
/// # Errors
/// Fails as [`TaskHandlerRegistry::cache_entries`] does.
pub async fn answer(
    registry: &TaskHandlerRegistry,
    query: EntriesQuery,
) -> ApiResult<ApiJson<CacheEntries>> {
    let EntriesQuery {
        namespace,
        offset,
        limit,
        verify,
    } = query;
    let which = Inspection {
        namespace,
        offset,
        limit,
        verify,
    };
    Ok(ApiJson(registry.cache_entries(&which).await?))
}
