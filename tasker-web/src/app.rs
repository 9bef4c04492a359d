//! Builds a service's router from its own routes and the shared ones.

use std::sync::Arc;

use axum::Router;

use crate::parts::AppParts;
use crate::{config_route, docs, health, layers, metrics_route};

/// Returns the whole service: its own `routes`, the routes that every service has, and the layers
/// around them. `document` describes `routes`.
pub fn app(parts: &Arc<AppParts>, routes: Router, document: utoipa::openapi::OpenApi) -> Router {
    metrics_route::start(&parts.lifecycle);
    let watched = Arc::clone(parts);
    parts.lifecycle.spawn(async move {
        let registry = &watched.context.task_handler_registry;
        watched.triggers.run(registry).await;
    });
    let all = routes
        .merge(health::routes(parts))
        .merge(metrics_route::routes(parts))
        .merge(docs::routes(docs::with_shared_routes(document)))
        .merge(config_route::routes(parts));
    layers::serve_layers(all, (parts.info.web)(&parts.context.tasker_config))
}
