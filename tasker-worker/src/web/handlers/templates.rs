//! Templates, and the caches that hold them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tasker_shared::cache::CacheStatus;
use tasker_shared::registry::inspection::CacheEntries;
use tasker_shared::types::CacheStats;
use tasker_web::ProblemBody;
use tasker_web::cache_entries::{self, EntriesQuery};
use tasker_web::{ApiBytes, ApiJson, ApiPath, ApiQuery, ApiResult};
use tasker_web::{etag, none_match_holds};
use utoipa::IntoParams;

use crate::worker::services::template_query::{
    CacheOperationResponse, TemplateListResponse, TemplateQueryService, TemplateResponse,
    TemplateValidationResponse,
};

/// A client may keep an answer, but has to ask whether it is current each time.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// Which template.
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

/// Which templates.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only templates of this namespace.
    namespace: Option<String>,
    /// Whether the answer has `cache_stats`.
    #[serde(default)]
    include_cache_stats: bool,
}

/// List registered templates
#[utoipa::path(
    get, path = "/templates", tag = "templates", params(ListQuery),
    responses(
        (status = 200, body = TemplateListResponse),
        (status = 400, description = "A parameter is not valid", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "PostgreSQL does not answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_templates(
    State(service): State<TemplateQueryService>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> ApiResult<ApiJson<TemplateListResponse>> {
    let list = service
        .list_templates(query.namespace.as_deref(), query.include_cache_stats)
        .await?;
    Ok(ApiJson(list))
}

/// Get a template as this worker's environment sees it
///
/// The `ETag` is the hash of the registered content, before overrides: it is the same in every
/// environment, and changes whenever the registered content does.
#[utoipa::path(
    get, path = "/templates/{namespace}/{name}/{version}", tag = "templates",
    params(
        TemplatePath,
        ("If-None-Match" = Option<String>, Header, description = "Entity tags that the client holds"),
    ),
    responses(
        (status = 200, body = TemplateResponse, headers(("ETag" = String, description = "The quoted content hash"))),
        (status = 304, description = "The client holds this content already"),
        (status = 404, description = "No such template is registered", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "PostgreSQL does not answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_template(
    State(service): State<TemplateQueryService>,
    ApiPath(path): ApiPath<TemplatePath>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let lookup = service
        .get_template(&path.namespace, &path.name, &path.version)
        .await?;
    let etag = etag(&lookup.template.metadata().hash);
    let held = none_match_holds(&headers, &etag);
    let validators = [(header::ETAG, etag), (header::CACHE_CONTROL, REVALIDATE)];
    if held {
        return Ok((StatusCode::NOT_MODIFIED, validators).into_response());
    }
    let body = ApiJson(TemplateResponse::from(&lookup));
    Ok((validators, body).into_response())
}

/// Validate a registered template, or the one in the body
///
/// Without a body, the template is checked with the overrides of this worker's environment applied.
/// A body is a template in YAML or JSON. It is checked as a file would be, and is not registered.
#[utoipa::path(
    post, path = "/templates/{namespace}/{name}/{version}/validate", tag = "templates",
    params(TemplatePath),
    request_body(
        content((String = "application/yaml"), (Object = "application/json")),
        description = "A template to check instead of the registered one",
    ),
    responses(
        (status = 200, description = "Errors and warnings", body = TemplateValidationResponse),
        (status = 413, description = "The body is too large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "No such template is registered", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "PostgreSQL does not answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn validate_template(
    State(service): State<TemplateQueryService>,
    ApiPath(path): ApiPath<TemplatePath>,
    ApiBytes(body): ApiBytes,
) -> ApiResult<ApiJson<TemplateValidationResponse>> {
    let checked = if body.is_empty() {
        service
            .validate_template(&path.namespace, &path.name, &path.version)
            .await?
    } else {
        service.validate_document(body.to_vec()).await
    };
    Ok(ApiJson(checked))
}

/// Resolve a template anew and delete its distributed entry
#[utoipa::path(
    post, path = "/templates/{namespace}/{name}/{version}/refresh", tag = "cache",
    params(TemplatePath),
    responses(
        (status = 200, body = CacheOperationResponse),
        (status = 404, description = "No such template is registered", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "PostgreSQL does not answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn refresh_template(
    State(service): State<TemplateQueryService>,
    ApiPath(path): ApiPath<TemplatePath>,
) -> ApiResult<ApiJson<CacheOperationResponse>> {
    let done = service
        .refresh_template(&path.namespace, &path.name, &path.version)
        .await?;
    Ok(ApiJson(done))
}

/// Empty this worker's cache and delete all templates from the distributed one
#[utoipa::path(
    delete, path = "/templates/cache", tag = "cache",
    responses((status = 200, body = CacheOperationResponse))
)]
pub(crate) async fn clear_cache(
    State(service): State<TemplateQueryService>,
) -> ApiJson<CacheOperationResponse> {
    ApiJson(service.clear_cache().await)
}

/// Drop entries that are not current, from both caches
#[utoipa::path(
    post, path = "/templates/cache/maintain", tag = "cache",
    responses(
        (status = 200, body = CacheOperationResponse),
        (status = 503, description = "PostgreSQL does not answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn maintain_cache(
    State(service): State<TemplateQueryService>,
) -> ApiResult<ApiJson<CacheOperationResponse>> {
    Ok(ApiJson(service.maintain_cache().await?))
}

/// What this worker's cache did and holds
#[utoipa::path(
    get, path = "/templates/cache/stats", tag = "cache",
    responses((status = 200, body = CacheStats))
)]
pub(crate) async fn get_cache_stats(
    State(service): State<TemplateQueryService>,
) -> ApiJson<CacheStats> {
    ApiJson(service.cache_stats())
}

/// What this worker's caches hold of each template, and whether it agrees with the database
#[utoipa::path(
    get, path = "/templates/cache/entries", tag = "cache", params(EntriesQuery),
    responses(
        (status = 200, body = CacheEntries),
        (status = 503, description = "PostgreSQL does not answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_cache_entries(
    State(service): State<TemplateQueryService>,
    ApiQuery(query): ApiQuery<EntriesQuery>,
) -> ApiResult<ApiJson<CacheEntries>> {
    cache_entries::answer(service.registry(), query).await
}

/// Whether there is a distributed cache, and whether it answers
#[utoipa::path(
    get, path = "/templates/cache/distributed", tag = "cache",
    responses((status = 200, body = CacheStatus))
)]
pub(crate) async fn get_distributed_cache_status(
    State(service): State<TemplateQueryService>,
) -> ApiJson<CacheStatus> {
    ApiJson(service.distributed_cache_status().await)
}
