//! `/v1/handlers/{namespace}/{name}/{version}/retirement`: withdraws templates.

use axum::extract::State;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tasker_shared::registry::RegistryError;
use tasker_shared::registry::catalog::Retirement;
use tasker_web::problem_kinds as kinds;
use tasker_web::{ApiJson, ApiPath, ApiResult, FieldError, Problem, ProblemBody, resolve_problem};
use utoipa::{IntoParams, ToSchema};

use crate::web::state::ApiState;

/// The longest `retired_by`, in characters.
const MAX_NAME: usize = 128;

/// Names a template.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct TemplatePath {
    /// The template's namespace.
    pub(super) namespace: String,
    /// The template's name.
    pub(super) name: String,
    /// The template's version.
    pub(super) version: String,
}

/// A request to retire a template.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetireRequest {
    /// The name of the person or program that retires the template.
    #[schema(min_length = 1, max_length = 128)]
    retired_by: String,
}

/// The retirement of a template.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RetirementInfo {
    /// The template's namespace.
    namespace: String,
    /// The template's name.
    name: String,
    /// The template's version.
    version: String,
    /// The time at which the template was retired.
    retired_at: DateTime<Utc>,
    /// The name of the person or program that retired it.
    retired_by: Option<String>,
}

impl TemplatePath {
    fn info(self, retirement: Retirement) -> ApiResult<ApiJson<RetirementInfo>> {
        let Some(retired_at) = retirement.retired_at else {
            return Err(Problem::new(
                &kinds::TEMPLATE_NOT_RETIRED,
                "The template is registered and not retired.",
            ));
        };
        Ok(ApiJson(RetirementInfo {
            namespace: self.namespace,
            name: self.name,
            version: self.version,
            retired_at,
            retired_by: retirement.retired_by,
        }))
    }

    pub(super) async fn not_found(self, state: &ApiState) -> Problem {
        let error = RegistryError::NotFound {
            namespace: self.namespace,
            name: self.name,
            version: self.version,
        };
        resolve_problem(&state.catalog, error).await
    }
}

/// Retire a template
///
/// New tasks do not find the template within `max_staleness_ms`. Tasks that were created from it keep
/// it. Retiring it again changes nothing, and neither does a boot that finds its file.
#[utoipa::path(
    put,
    path = "/v1/handlers/{namespace}/{name}/{version}/retirement",
    tag = "handlers",
    params(TemplatePath),
    request_body = RetireRequest,
    responses(
        (status = 200, description = "The template is retired", body = RetirementInfo),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn retire_template(
    State(state): State<ApiState>,
    ApiPath(path): ApiPath<TemplatePath>,
    ApiJson(request): ApiJson<RetireRequest>,
) -> ApiResult<ApiJson<RetirementInfo>> {
    let RetireRequest { retired_by } = request;
    if retired_by.is_empty() || retired_by.chars().count() > MAX_NAME || retired_by.contains('\0') {
        let detail = format!("must have 1 to {MAX_NAME} characters, and not U+0000");
        return Err(
            Problem::new(&kinds::VALIDATION_FAILED, format!("`retired_by` {detail}."))
                .with_errors(vec![FieldError::new("/retired_by", detail)]),
        );
    }
    let TemplatePath {
        namespace,
        name,
        version,
    } = &path;
    let retired = state
        .catalog
        .retire(namespace, name, version, &retired_by)
        .await?;
    let Some(retirement) = retired else {
        return Err(path.not_found(&state).await);
    };
    tracing::info!(namespace, name, version, retired_by, "template retired");
    path.info(retirement)
}

/// Get the retirement of a template
#[utoipa::path(
    get,
    path = "/v1/handlers/{namespace}/{name}/{version}/retirement",
    tag = "handlers",
    params(TemplatePath),
    responses(
        (status = 200, description = "The retirement", body = RetirementInfo),
        (status = 404, description = "`template_not_found` or `template_not_retired`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_retirement(
    State(state): State<ApiState>,
    ApiPath(path): ApiPath<TemplatePath>,
) -> ApiResult<ApiJson<RetirementInfo>> {
    let found = state
        .catalog
        .retirement(&path.namespace, &path.name, &path.version)
        .await?;
    match found {
        Some(retirement) => path.info(retirement),
        None => Err(path.not_found(&state).await),
    }
}

/// Restore a retired template
///
/// New tasks find it again within `max_staleness_ms`.
#[utoipa::path(
    delete,
    path = "/v1/handlers/{namespace}/{name}/{version}/retirement",
    tag = "handlers",
    params(TemplatePath),
    responses(
        (status = 204, description = "The template is not retired"),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn restore_template(
    State(state): State<ApiState>,
    ApiPath(path): ApiPath<TemplatePath>,
) -> ApiResult<StatusCode> {
    let TemplatePath {
        namespace,
        name,
        version,
    } = &path;
    if state.catalog.restore(namespace, name, version).await? {
        tracing::info!(namespace, name, version, "template restored");
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(path.not_found(&state).await)
    }
}
