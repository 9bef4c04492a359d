//! A service's whole router, from what the process holds and the routes that are its own.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use crate::lifecycle::Lifecycle;
use crate::{docs, health, layers, metrics_route};
use tasker_shared::SystemContext;
use tasker_shared::config::tasker::{TaskerConfig, WebConfig};

/// What a service is called, and where its HTTP configuration is.
#[derive(Debug)]
pub struct ServiceInfo {
    /// The name of the program.
    pub name: &'static str,
    /// Its release.
    pub version: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The part of the configuration that its HTTP server follows.
    pub web: fn(&TaskerConfig) -> &WebConfig,
}

/// What a running service's routes are made from.
#[derive(Debug)]
pub struct AppParts {
    /// Which service it is.
    pub info: &'static ServiceInfo,
    /// Pool, configuration, caches and registry.
    pub context: Arc<SystemContext>,
    /// How the process stops.
    pub lifecycle: Lifecycle,
    /// When it started.
    pub started: Instant,
}

impl AppParts {
    /// The parts of a process that has just started.
    #[must_use]
    pub fn new(
        info: &'static ServiceInfo,
        context: Arc<SystemContext>,
        lifecycle: Lifecycle,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            context,
            lifecycle,
            started: Instant::now(),
        })
    }
}

/// The whole service: `routes` that are its own, those that every service has, and everything
/// that surrounds them. `document` describes `routes`.
pub fn app(parts: &Arc<AppParts>, routes: Router, document: utoipa::openapi::OpenApi) -> Router {
    metrics_route::start(&parts.lifecycle);
    let all = routes
        .merge(health::routes(parts))
        .merge(metrics_route::routes())
        .merge(docs::routes(docs::with_shared_routes(document)))
        .merge(
            Router::new()
                .route("/config", get(config))
                .with_state(Arc::clone(parts)),
        );
    layers::serve_layers(all, (parts.info.web)(&parts.context.tasker_config))
}

/// The configuration in force
///
/// Without secrets: passwords and query values in URLs are `***`.
#[utoipa::path(
    get,
    path = "/config",
    tag = "operations",
    responses((status = 200, description = "The configuration", body = Object))
)]
pub(crate) async fn config(State(parts): State<Arc<AppParts>>) -> Json<Arc<TaskerConfig>> {
    Json(Arc::clone(&parts.context.tasker_config))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::ServiceInfo;

    /// A service to test with.
    pub(crate) const INFO: ServiceInfo = ServiceInfo {
        name: "tasker-example",
        version: "1.2.3",
        about: "An example",
        web: |config| &config.worker.web,
    };
}
