//! The worker's own routes. Health, metrics, configuration and API documents are in `tasker-web`.
//!
//! Routes of the caches have one or two segments after `/templates`, and routes of a template have
//! three or more, so a namespace called `cache` is reachable like any other.

use axum::Router;
use axum::routing::{delete, get, post};

use super::handlers::templates;
use crate::worker::services::template_query::TemplateQueryService;

/// Returns the routes below `/templates`.
pub fn template_routes(service: TemplateQueryService) -> Router {
    Router::new()
        .route("/templates", get(templates::list_templates))
        .route("/templates/cache", delete(templates::clear_cache))
        .route("/templates/cache/stats", get(templates::get_cache_stats))
        .route(
            "/templates/cache/distributed",
            get(templates::get_distributed_cache_status),
        )
        .route(
            "/templates/cache/entries",
            get(templates::list_cache_entries),
        )
        .route("/templates/cache/maintain", post(templates::maintain_cache))
        .route(
            "/templates/{namespace}/{name}/{version}",
            get(templates::get_template),
        )
        .route(
            "/templates/{namespace}/{name}/{version}/validate",
            post(templates::validate_template),
        )
        .route(
            "/templates/{namespace}/{name}/{version}/refresh",
            post(templates::refresh_template),
        )
        .with_state(service)
}
