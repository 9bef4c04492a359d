//! Handlers for templates and caches.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tasker_shared::cache::CacheStatus;
use tasker_shared::registry::inspection::CacheEntries;
use tasker_shared::types::CacheStats;
use tasker_web::ProblemBody;
use tasker_web::cache_entries::{self, EntriesQuery};
use tasker_web::{ApiBytes, ApiJson, ApiPath, ApiQuery, ApiResult, PageQuery};
use tasker_web::{etag, none_match_holds};
use utoipa::IntoParams;

use crate::worker::services::template_query::{
    CacheOperationResponse, TemplateListResponse, TemplateQueryService, TemplateResponse,
    TemplateValidationResponse,
};

/// Allows clients to store an answer, but they must revalidate it before each use.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Names a template.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TemplatePath {
    /// The template's namespace.
    namespace: String,
    /// The template's name.
    name: String,
    /// The template's version.
    version: String,
}

/// Selects templates.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only templates of this namespace.
    namespace: Option<String>,
    /// Adds `cache_stats` to the answer.
    #[serde(default)]
    include_cache_stats: bool,
    /// Size of the page, from 1 to 1000. Default 100.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// The cursor of the page: `next_cursor` of the previous page.
    cursor: Option<String>,
}

/// List registered templates
#[utoipa::path(
    get, path = "/templates", tag = "templates", params(ListQuery),
    responses(
        (status = 200, description = "The registered templates", body = TemplateListResponse),
    )
)]
pub(crate) async fn list_templates(
    State(service): State<TemplateQueryService>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<ApiJson<TemplateListResponse>> {
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let list = service
        .list_templates(query.namespace, &page, query.include_cache_stats)
        .await?;
    Ok(ApiJson(list))
}

/// Get a template with the overrides of this worker's environment
///
/// The `ETag` is the hash of the registered document before overrides. It is the same in every
/// environment, and changes when the registered document changes.
#[utoipa::path(
    get, path = "/templates/{namespace}/{name}/{version}", tag = "templates",
    params(
        TemplatePath,
        ("If-None-Match" = Option<String>, Header, description = "Entity tags of the documents that the client has"),
    ),
    responses(
        (status = 200, description = "The template", body = TemplateResponse, headers(("ETag" = String, description = "The quoted hash of the registered document"))),
        (status = 304, description = "The client has the current document"),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_template(
    State(service): State<TemplateQueryService>,
    ApiPath(path): ApiPath<TemplatePath>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let lookup = service
        .get_template(&path.namespace, &path.name, &path.version)
        .await;
    let lookup = service.explain(lookup).await?;
    let etag = etag(&lookup.template.metadata().hash);
    let held = none_match_holds(&headers, &etag);
    let validators = [(header::ETAG, etag), (header::CACHE_CONTROL, REVALIDATE)];
    if held {
        return Ok((StatusCode::NOT_MODIFIED, validators).into_response());
    }
    let body = ApiJson(service.describe(&lookup).await);
    Ok((validators, body).into_response())
}

/// Validate a registered template, or the one in the body
///
/// Without a body, checks the registered template with the overrides of this worker's environment.
/// A body is a template in YAML or JSON. It is checked like a file, and is not registered.
#[utoipa::path(
    post, path = "/templates/{namespace}/{name}/{version}/validate", tag = "templates",
    params(TemplatePath),
    request_body(
        content((String = "application/yaml"), (Object = "application/json")),
        description = "A template to check instead of the registered one",
    ),
    responses(
        (status = 200, description = "Errors and warnings", body = TemplateValidationResponse),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn validate_template(
    State(service): State<TemplateQueryService>,
    ApiPath(path): ApiPath<TemplatePath>,
    ApiBytes(body): ApiBytes,
) -> ApiResult<ApiJson<TemplateValidationResponse>> {
    let checked = if body.is_empty() {
        let checked = service
            .validate_template(&path.namespace, &path.name, &path.version)
            .await;
        service.explain(checked).await?
    } else {
        service.validate_document(body.to_vec()).await
    };
    Ok(ApiJson(checked))
}

/// Refresh a template
///
/// Resolves the template again and deletes its entry in the distributed cache.
#[utoipa::path(
    post, path = "/templates/{namespace}/{name}/{version}/refresh", tag = "cache",
    params(TemplatePath),
    responses(
        (status = 200, description = "The entries that were deleted, and the statistics afterwards", body = CacheOperationResponse),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn refresh_template(
    State(service): State<TemplateQueryService>,
    ApiPath(path): ApiPath<TemplatePath>,
) -> ApiResult<ApiJson<CacheOperationResponse>> {
    let done = service
        .refresh_template(&path.namespace, &path.name, &path.version)
        .await;
    let done = service.explain(done).await?;
    Ok(ApiJson(done))
}

/// Clear the caches
///
/// Removes all templates from this worker's cache and from the distributed cache.
#[utoipa::path(
    delete, path = "/templates/cache", tag = "cache",
    responses((status = 200, description = "The entries that were deleted, and the statistics afterwards", body = CacheOperationResponse))
)]
pub(crate) async fn clear_cache(
    State(service): State<TemplateQueryService>,
) -> ApiJson<CacheOperationResponse> {
    ApiJson(service.clear_cache().await)
}

/// Remove outdated entries
///
/// Removes entries that are not current from this worker's cache and from the distributed cache.
#[utoipa::path(
    post, path = "/templates/cache/maintain", tag = "cache",
    responses(
        (status = 200, description = "The entries that were deleted, and the statistics afterwards", body = CacheOperationResponse),
    )
)]
pub(crate) async fn maintain_cache(
    State(service): State<TemplateQueryService>,
) -> ApiResult<ApiJson<CacheOperationResponse>> {
    Ok(ApiJson(service.maintain_cache().await?))
}

/// Get statistics of this worker's cache
#[utoipa::path(
    get, path = "/templates/cache/stats", tag = "cache",
    responses((status = 200, description = "The statistics", body = CacheStats))
)]
pub(crate) async fn get_cache_stats(
    State(service): State<TemplateQueryService>,
) -> ApiJson<CacheStats> {
    ApiJson(service.cache_stats())
}

/// List cached templates
///
/// With `verify=true` each entry is compared with Redis and the database.
#[utoipa::path(
    get, path = "/templates/cache/entries", tag = "cache", params(EntriesQuery),
    responses(
        (status = 200, description = "The cached templates", body = CacheEntries),
    )
)]
pub(crate) async fn list_cache_entries(
    State(service): State<TemplateQueryService>,
    ApiQuery(query): ApiQuery<EntriesQuery>,
) -> ApiResult<ApiJson<CacheEntries>> {
    cache_entries::answer(service.registry(), query).await
}

/// Get the status of the distributed cache
#[utoipa::path(
    get, path = "/templates/cache/distributed", tag = "cache",
    responses((status = 200, description = "The status", body = CacheStatus))
)]
pub(crate) async fn get_distributed_cache_status(
    State(service): State<TemplateQueryService>,
) -> ApiJson<CacheStatus> {
    ApiJson(service.distributed_cache_status().await)
}
