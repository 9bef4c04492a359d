//! Puts the orchestration service together.

use std::sync::Arc;

use axum::Router;
use tasker_web::{AppParts, ServiceError, ServiceInfo, app};

use crate::web::{openapi, routes};

/// What this service is called.
pub const INFO: ServiceInfo = ServiceInfo {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: env!("CARGO_PKG_DESCRIPTION"),
    web: |config| &config.orchestration.web,
};

/// Makes the service's router, for [`tasker_web::run_service`].
///
/// # Errors
/// None of its own: what can fail has been made by then.
#[expect(
    clippy::unused_async,
    reason = "a service may have to wait while it starts; this one does not"
)]
pub async fn start(parts: Arc<AppParts>) -> Result<Router, ServiceError> {
    Ok(router(&parts))
}

/// The whole service.
pub fn router(parts: &Arc<AppParts>) -> Router {
    app(parts, routes::routes(&parts.context), openapi::document())
}
