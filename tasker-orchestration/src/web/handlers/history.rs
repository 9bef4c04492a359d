//! `/v1/handlers/{namespace}/{name}/{version}/history`

use axum::extract::State;
use serde::Deserialize;
use tasker_shared::registry::history::{TemplateChange, template_history};
use tasker_web::{ApiJson, ApiPath, ApiQuery, ApiResult, ProblemBody};
use utoipa::IntoParams;

use super::retirement::TemplatePath;
use crate::web::state::ApiState;

/// The content of the answer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// Adds the documents, the newest of them up to 4 MiB.
    #[serde(default)]
    documents: bool,
}

/// Get the history of a template
///
/// The documents that the name had, the newest first: since when, until when, and which file and
/// process they came from.
#[utoipa::path(
    get,
    path = "/v1/handlers/{namespace}/{name}/{version}/history",
    tag = "handlers",
    params(TemplatePath, HistoryQuery),
    responses(
        (status = 200, description = "The history", body = Vec<TemplateChange>),
        (status = 404, description = "`template_not_found`", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_history(
    State(state): State<ApiState>,
    ApiPath(path): ApiPath<TemplatePath>,
    ApiQuery(query): ApiQuery<HistoryQuery>,
) -> ApiResult<ApiJson<Vec<TemplateChange>>> {
    let changes = template_history(
        &state.pool,
        &path.namespace,
        &path.name,
        &path.version,
        query.documents,
    )
    .await?;
    if changes.is_empty() {
        return Err(path.not_found(&state).await);
    }
    Ok(ApiJson(changes))
}
