//! `GET .../templates/cache/entries`: what the caches hold, in both services.

use serde::Deserialize;
use utoipa::IntoParams;

use crate::extract::ApiJson;
use crate::problem::ApiResult;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_shared::registry::inspection::{CacheEntries, Inspection};

/// Which templates, and how closely to look.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EntriesQuery {
    /// Only templates of this namespace.
    namespace: Option<String>,
    /// How many to leave out at the beginning, in the order of names. Default 0.
    #[serde(default)]
    offset: usize,
    /// How many at most: up to 1000, up to 100 with `verify`. Default 100.
    #[serde(default = "default_limit")]
    limit: usize,
    /// Whether to compare with the database and with whole bodies, there and then.
    #[serde(default)]
    verify: bool,
}

const fn default_limit() -> usize {
    100
}

/// Answers the query from the caches of this process.
///
/// # Errors
/// As [`TaskHandlerRegistry::cache_entries`].
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
