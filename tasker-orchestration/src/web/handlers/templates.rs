//! `/v1/handlers`: the templates that tasks can be made from.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use tasker_shared::models::core::identity_strategy::IdentityStrategy;
use tasker_shared::registry::{RegistryError, TemplateListing};
use tasker_shared::types::{Document, HandlerMetadata};
use tasker_web::ProblemBody;
use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiJson, ApiPath, ApiQuery, ApiResult, Problem};
use tasker_web::{etag, none_match_holds};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::web::routes::ApiState;

/// A client may keep a template, and asks each time whether it is current.
const REVALIDATE: &str = "no-cache";

/// A namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NamespaceInfo {
    /// Its name.
    name: String,
    /// How many templates it has; versions of one name are one.
    handler_count: usize,
    /// How many versions of templates it has.
    version_count: usize,
}

/// A registered template in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HandlerSummary {
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// What its author says that it is for.
    description: Option<String>,
    /// The content hash of its body.
    hash: String,
    /// When this content was registered.
    registered_at: DateTime<Utc>,
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
    /// Its namespace.
    namespace: String,
    /// Its name.
    name: String,
    /// Its version.
    version: String,
    /// All versions that are registered under this name, the one registered last first.
    versions: Vec<String>,
    /// The row in `tasker.named_tasks`.
    named_task_uuid: Uuid,
    /// The code that runs its tasks; empty when it names none.
    handler_class: String,
    /// How requests for it are recognised as the same.
    identity_strategy: IdentityStrategy,
    /// The content hash of its body.
    hash: String,
    /// When this content was registered.
    registered_at: DateTime<Utc>,
    /// The document, with everything that its author wrote.
    #[schema(value_type = Object)]
    template: Document,
}

/// The namespaces that have templates, by name
#[utoipa::path(
    get,
    path = "/v1/handlers",
    tag = "handlers",
    responses(
        (status = 200, description = "The namespaces", body = Vec<NamespaceInfo>),
        (status = 503, description = "`database_unavailable` or `template_directory_stale`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_namespaces(
    State(state): State<ApiState>,
) -> ApiResult<ApiJson<Vec<NamespaceInfo>>> {
    let mut namespaces: BTreeMap<String, (BTreeSet<String>, usize)> = BTreeMap::new();
    for template in state.registry.list_templates(None).await? {
        let (names, versions) = namespaces.entry(template.namespace).or_default();
        names.insert(template.name);
        *versions += 1;
    }
    let namespaces = namespaces
        .into_iter()
        .map(|(name, (names, version_count))| NamespaceInfo {
            name,
            handler_count: names.len(),
            version_count,
        })
        .collect();
    Ok(ApiJson(namespaces))
}

/// The templates of a namespace, by name and version
#[utoipa::path(
    get,
    path = "/v1/handlers/{namespace}",
    tag = "handlers",
    params(("namespace" = String, Path, description = "The namespace")),
    responses(
        (status = 200, description = "Its templates", body = Vec<HandlerSummary>),
        (status = 404, description = "`namespace_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`database_unavailable` or `template_directory_stale`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_handlers(
    State(state): State<ApiState>,
    ApiPath(namespace): ApiPath<String>,
) -> ApiResult<ApiJson<Vec<HandlerSummary>>> {
    let templates = state.templates_of(&namespace).await?;
    if templates.is_empty() {
        return Err(Problem::new(
            &kinds::NAMESPACE_NOT_FOUND,
            "No template is registered in this namespace. /v1/handlers lists those that have some.",
        ));
    }
    Ok(ApiJson(templates.into_iter().map(Into::into).collect()))
}

/// Which version of a template.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HandlerQuery {
    /// The version. Default: the one that was registered last.
    version: Option<String>,
}

/// One template
///
/// `ETag` is the content hash; with it in `If-None-Match` the answer is a 304 until the template
/// changes.
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
        (status = 200, description = "The template", body = HandlerInfo, headers(("etag" = String, description = "The content hash"))),
        (status = 304, description = "The client has it"),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "`database_unavailable` or `template_directory_stale`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_handler(
    State(state): State<ApiState>,
    ApiPath((namespace, name)): ApiPath<(String, String)>,
    ApiQuery(query): ApiQuery<HandlerQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let mut registered = state.templates_of(&namespace).await?;
    registered.retain(|template| template.name == name);
    registered.sort_by_key(|template| std::cmp::Reverse(template.sequence));
    let version = match query.version {
        Some(version) if registered.iter().any(|known| known.version == version) => Some(version),
        Some(_) => None,
        None => registered.first().map(|template| template.version.clone()),
    };
    let Some(version) = version else {
        return Err(Problem::new(
            &kinds::TEMPLATE_NOT_FOUND,
            "No template of this name and version is registered. /v1/handlers lists what is.",
        ));
    };
    let template = state
        .registry
        .get_template(&namespace, &name, &version)
        .await?;
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
    let versions = registered.into_iter().map(|t| t.version).collect();
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

impl ApiState {
    /// The registered templates of `namespace`. One that cannot be a name has none.
    async fn templates_of(&self, namespace: &str) -> Result<Vec<TemplateListing>, RegistryError> {
        if namespace.contains('\0') {
            return Ok(Vec::new());
        }
        self.registry.list_templates(Some(namespace)).await
    }
}
