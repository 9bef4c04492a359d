//! `GET /config`: the configuration in force.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::parts::AppParts;

/// Returns the route.
pub(crate) fn routes(parts: &Arc<AppParts>) -> Router {
    Router::new()
        .route("/config", get(config))
        .with_state(Arc::clone(parts))
}

/// Get the configuration in force
///
/// Passwords and query values in URLs are replaced by `***`. On a worker `template_folders` has the
/// folders that are searched for templates.
#[utoipa::path(
    get,
    path = "/config",
    tag = "operations",
    responses((status = 200, description = "The configuration", body = Object))
)]
pub(crate) async fn config(State(parts): State<Arc<AppParts>>) -> Json<Value> {
    let mut config = parts.context.tasker_config.to_public_json();
    if let Some(files) = parts.template_files() {
        config["template_folders"] = json!({"named_by": files.named_by, "folders": files.folders});
    }
    Json(config)
}
