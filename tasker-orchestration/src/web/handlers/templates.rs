//! `/v1/handlers`: the registered templates.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use tasker_shared::models::core::identity_strategy::IdentityStrategy;
use tasker_shared::registry::TemplateListing;
use tasker_shared::registry::catalog::{self, NamespaceListing};
use tasker_shared::types::{Document, HandlerMetadata};
use tasker_web::ProblemBody;
use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiJson, ApiPath, ApiQuery, ApiResult, Page, PageQuery, Problem};
use tasker_web::{etag, none_match_holds, resolve_problem};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::web::state::ApiState;

/// Allows clients to store a template, but they must revalidate it before each use.
const REVALIDATE: &str = "no-cache";

/// A namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamespaceInfo {
    /// The name of the namespace.
    name: String,
    /// Number of templates. All versions of one name count as one.
    handler_count: usize,
    /// Number of templates, each version counted.
    version_count: usize,
}

/// A registered template in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HandlerSummary {
    /// The template's namespace.
    namespace: String,
    /// The template's name.
    name: String,
    /// The template's version.
    version: String,
    /// The author's description.
    description: Option<String>,
    /// The hash of the document.
    hash: String,
    /// The time at which this document was registered.
    registered_at: DateTime<Utc>,
}

impl From<NamespaceListing> for NamespaceInfo {
    fn from(namespace: NamespaceListing) -> Self {
        Self {
            name: namespace.name,
            handler_count: namespace.template_count,
            version_count: namespace.version_count,
        }
    }
}

impl From<TemplateListing> for HandlerSummary {
    fn from(template: TemplateListing) -> Self {
        Self {
            namespace: template.namespace,
            name: template.name,
            version: template.version,
            description: template.description,
            hash: template.hash.to_string(),
            registered_at: template.registered_at,
        }
    }
}

/// A registered template.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HandlerInfo {
    /// The template's namespace.
    namespace: String,
    /// The template's name.
    name: String,
    /// The template's version.
    version: String,
    /// All registered versions of this name. The latest registration is first.
    versions: Vec<String>,
    /// The row in `tasker.named_tasks`.
    named_task_uuid: Uuid,
    /// The code that runs the template's tasks. Empty if the template names none.
    handler_class: String,
    /// Defines which requests are the same and return the same task.
    identity_strategy: IdentityStrategy,
    /// The hash of the document.
    hash: String,
    /// The time at which this document was registered.
    registered_at: DateTime<Utc>,
    /// The document, with all keys that its author wrote.
    #[schema(value_type = Object)]
    template: Document,
}

/// List namespaces
///
/// Sorted by name. The header `link` has the address of the next page.
#[utoipa::path(
    get,
    path = "/v1/handlers",
    tag = "handlers",
    params(PageQuery),
    responses(
        (status = 200, description = "The namespaces", body = Vec<NamespaceInfo>, headers(("link" = String, description = "The next page"))),
    )
)]
pub(crate) async fn list_namespaces(
    State(state): State<ApiState>,
    uri: Uri,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> ApiResult<Response> {
    let limit = query.limit()?;
    let after: String = query.after()?.unwrap_or_default();
    let namespaces = state.catalog.namespaces(&after, limit + 1).await?;
    let namespaces = namespaces.into_iter().map(NamespaceInfo::from).collect();
    let page = Page::new(namespaces, limit, |one: &NamespaceInfo| one.name.clone());
    Ok(page.into_array(&uri, limit))
}

/// List the templates of a namespace
///
/// Sorted by name and version. The header `link` has the address of the next page.
#[utoipa::path(
    get,
    path = "/v1/handlers/{namespace}",
    tag = "handlers",
    params(("namespace" = String, Path, description = "The namespace"), PageQuery),
    responses(
        (status = 200, description = "The templates of the namespace", body = Vec<HandlerSummary>, headers(("link" = String, description = "The next page"))),
        (status = 404, description = "`namespace_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_handlers(
    State(state): State<ApiState>,
    ApiPath(namespace): ApiPath<String>,
    uri: Uri,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> ApiResult<Response> {
    let limit = query.limit()?;
    let after: Option<(String, String)> = query.after()?;
    let is_first = after.is_none();
    let page = catalog::Page {
        after: after.map(|(name, version)| (namespace.clone(), name, version)),
        namespace: Some(namespace),
        limit: limit + 1,
    };
    let templates = state.catalog.page(page).await?;
    if templates.is_empty() && is_first {
        return Err(Problem::new(
            &kinds::NAMESPACE_NOT_FOUND,
            "No template is registered in this namespace. /v1/handlers lists the namespaces.",
        ));
    }
    let templates = templates.into_iter().map(HandlerSummary::from).collect();
    let page = Page::new(templates, limit, |one: &HandlerSummary| {
        (one.name.clone(), one.version.clone())
    });
    Ok(page.into_array(&uri, limit))
}

/// Selects the version of a template.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HandlerQuery {
    /// The version. Default: the latest registration.
    version: Option<String>,
}

/// Get a template
///
/// `ETag` is the hash of the document. A request with it in `If-None-Match` returns 304 until the
/// template changes.
#[utoipa::path(
    get,
    path = "/v1/handlers/{namespace}/{name}",
    tag = "handlers",
    params(
        ("namespace" = String, Path, description = "The namespace"),
        ("name" = String, Path, description = "The template's name"),
        HandlerQuery,
    ),
    responses(
        (status = 200, description = "The template", body = HandlerInfo, headers(("etag" = String, description = "The quoted hash of the document"))),
        (status = 304, description = "The client has the current document"),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_handler(
    State(state): State<ApiState>,
    ApiPath((namespace, name)): ApiPath<(String, String)>,
    ApiQuery(query): ApiQuery<HandlerQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let versions = state.catalog.versions(&namespace, &name).await?;
    let version = match (query.version, versions.first()) {
        (Some(version), _) => version,
        (None, Some(latest)) => latest.clone(),
        (None, None) => String::from("(any version)"),
    };
    let template = match state
        .registry
        .get_template(&namespace, &name, &version)
        .await
    {
        Ok(template) => template,
        Err(error) => return Err(resolve_problem(&state.catalog, error).await),
    };
    let tag = etag(&template.hash);
    let cache_headers = [
        (header::ETAG, tag.clone()),
        (
            header::CACHE_CONTROL,
            http::HeaderValue::from_static(REVALIDATE),
        ),
    ];
    if none_match_holds(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, cache_headers).into_response());
    }
    Ok((
        cache_headers,
        ApiJson(HandlerInfo::new(&template, versions)),
    )
        .into_response())
}

impl HandlerInfo {
    fn new(template: &HandlerMetadata, versions: Vec<String>) -> Self {
        Self {
            namespace: template.namespace.clone(),
            name: template.name.clone(),
            version: template.version.clone(),
            versions,
            named_task_uuid: template.named_task_uuid,
            handler_class: template.handler_class.clone(),
            identity_strategy: template.identity_strategy,
            hash: template.hash.to_string(),
            registered_at: template.registered_at,
            template: template.document.clone(),
        }
    }
}
