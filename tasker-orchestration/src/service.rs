//! Assembles the orchestration service.

use std::sync::Arc;

use axum::Router;
use tasker_web::{AppParts, ServiceError, ServiceInfo, app};

use crate::ends::Ends;
use crate::upkeep;
use crate::web::{openapi, routes};

/// Name, release and configuration of this service.
pub const INFO: ServiceInfo = ServiceInfo {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: env!("CARGO_PKG_DESCRIPTION"),
    web: |config| &config.orchestration.web,
};

/// Returns the service's router, for [`tasker_web::run_service`].
///
/// # Errors
/// None yet, because the database is already connected.
#[expect(
    clippy::unused_async,
    reason = "a service may have to wait while it starts; this one does not"
)]
pub async fn start(parts: Arc<AppParts>) -> Result<Router, ServiceError> {
    parts
        .lifecycle
        .spawn(upkeep::run(Arc::clone(&parts.context)));
    Ok(router(&parts))
}

/// Returns the whole service, without its upkeep.
pub fn router(parts: &Arc<AppParts>) -> Router {
    let ends = Ends::new(parts.context.database_pool().clone());
    parts.lifecycle.spawn(ends.clone().run());
    app(
        parts,
        routes::routes(&parts.context, ends, parts.lifecycle.clone()),
        openapi::document(),
    )
}
