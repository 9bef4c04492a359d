//! Puts a worker together: templates first, then HTTP.

use std::sync::Arc;

use axum::Router;
use tasker_shared::registry::RegistryError;
use tasker_web::{AppParts, ServiceError, ServiceInfo, app, exit};

use crate::web::openapi;
use crate::web::routes::template_routes;
use crate::worker::services::template_query::TemplateQueryService;
use crate::worker::{DiscoveryError, TaskTemplateManager, TemplateDirectories};

/// What this service is called.
pub const INFO: ServiceInfo = ServiceInfo {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: env!("CARGO_PKG_DESCRIPTION"),
    web: |config| &config.worker.web,
};

/// Registers the templates that the environment or the configuration points to, and makes the
/// router.
///
/// The worker is alive meanwhile, and ready when this is done: it has then registered its templates.
pub async fn start(parts: Arc<AppParts>) -> Result<Router, ServiceError> {
    let directories =
        TemplateDirectories::from_env(&parts.context.tasker_config.common.task_templates);
    start_with(&parts, &directories).await
}

/// Registers the templates in `directories`, and makes the router.
///
/// # Errors
/// [`exit::CONFIG`] for a directory that cannot be searched, [`exit::UNAVAILABLE`] for a database
/// that is lost. Files that are no templates are logged and stop nothing.
pub async fn start_with(
    parts: &Arc<AppParts>,
    directories: &TemplateDirectories,
) -> Result<Router, ServiceError> {
    let context = &parts.context;
    let config = &context.tasker_config;
    let manager = Arc::new(TaskTemplateManager::new(
        Arc::clone(&context.task_handler_registry),
        config.common.environment.clone(),
        config.worker.template_cache_entries,
    ));
    manager
        .ensure_templates_in_database(directories)
        .await
        .map_err(|error| ServiceError::start(exit_code(&error), error))?;
    let service = TemplateQueryService::new(manager, Arc::clone(context.cache_provider()));
    Ok(app(parts, template_routes(service), openapi::document()))
}

/// What a supervisor should know: whether starting the worker again may help.
fn exit_code(error: &DiscoveryError) -> u8 {
    match error {
        DiscoveryError::Folder(_)
        | DiscoveryError::Registry {
            source: RegistryError::Folder { .. },
            ..
        } => exit::CONFIG,
        DiscoveryError::Registry {
            source: RegistryError::Database(_) | RegistryError::Stale | RegistryError::ShutDown,
            ..
        } => exit::UNAVAILABLE,
        DiscoveryError::Registry { .. } => exit::INTERNAL,
    }
}
