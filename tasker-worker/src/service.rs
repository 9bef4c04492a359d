//! Assembles a worker: templates first, then HTTP.

use std::sync::Arc;

use axum::Router;
use tasker_shared::database::DatabaseCause;
use tasker_shared::models::core::task_template::TemplateLimits;
use tasker_shared::registry::RegistryError;
use tasker_shared::registry::catalog::TemplateCatalog;
use tasker_web::{AppParts, ServiceError, ServiceInfo, TemplateFiles, app, causes, exit};

use crate::execution::{Handlers, Worker};
use crate::web::openapi;
use crate::web::routes::template_routes;
use crate::worker::services::template_query::TemplateQueryService;
use crate::worker::{DiscoveryError, DiscoverySummary, TaskTemplateManager, TemplateDirectories};

/// Name, release and configuration of this service.
pub const INFO: ServiceInfo = ServiceInfo {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: env!("CARGO_PKG_DESCRIPTION"),
    web: |config| &config.worker.web,
};

/// Registers the templates in the folders that the environment or the configuration names, and
/// returns the router.
///
/// The worker is alive while this runs, and ready when it returns. Steps with the callables of
/// `handlers` are run from then on.
pub async fn start(parts: Arc<AppParts>, handlers: Handlers) -> Result<Router, ServiceError> {
    let directories =
        TemplateDirectories::from_env(&parts.context.tasker_config.common.task_templates);
    let router = start_with(&parts, &directories).await?;
    let runs_http = !parts
        .context
        .tasker_config
        .worker
        .http_handlers
        .allowed_hosts
        .is_empty();
    if runs_http || handlers.callables().next().is_some() {
        let worker = Worker::builder(Arc::clone(&parts.context))
            .handlers(handlers)
            .start();
        parts.set_registration(worker.registration());
        let draining = parts.lifecycle.draining();
        parts.lifecycle.spawn_draining(async move {
            draining.cancelled().await;
            worker.drain().await;
        });
    }
    Ok(router)
}

/// Registers the templates in `directories`, and returns the router.
///
/// # Errors
/// Fails with [`exit::CONFIG`] if a folder cannot be searched, and with [`exit::UNAVAILABLE`] if the
/// database is lost. Invalid template files are logged and do not stop the start.
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
    let discovered = manager
        .ensure_templates_in_database(directories, &config.common.task_templates)
        .await;
    let (summary, registration_error) = match discovered {
        Ok(summary) => (summary, None),
        Err(error) if is_read_only(&error) => {
            let error = causes(&error);
            tracing::error!(
                error,
                "the database takes no writes; registered templates are served, and those of the folders are not registered"
            );
            (DiscoverySummary::default(), Some(error))
        }
        Err(error) => return Err(ServiceError::start(exit_code(&error), error)),
    };
    parts.set_template_files(TemplateFiles {
        named_by: directories.named_by(),
        folders: directories.paths().to_vec(),
        found: summary.files,
        registered: summary.created + summary.updated + summary.unchanged,
        refused: summary.refused,
        registration_error,
        invalidation_error: summary.invalidation_error,
    });
    let service = TemplateQueryService::new(
        manager,
        Arc::clone(context.cache_provider()),
        TemplateCatalog::new(context.database_pool().clone()),
        TemplateLimits::with_max_bytes(config.common.task_templates.max_file_bytes),
    );
    Ok(app(parts, template_routes(service), openapi::document()))
}

/// Returns true if the database takes no writes. A restart would not help, and resolves work.
fn is_read_only(error: &DiscoveryError) -> bool {
    let DiscoveryError::Registry {
        source: RegistryError::Database(error),
        ..
    } = error
    else {
        return false;
    };
    error.kind() == DatabaseCause::ReadOnly
}

/// Returns an exit code from which a supervisor can decide to restart the worker.
fn exit_code(error: &DiscoveryError) -> u8 {
    match error {
        DiscoveryError::Folder(_)
        | DiscoveryError::Refused { .. }
        | DiscoveryError::Registry {
            source: RegistryError::Folder { .. },
            ..
        } => exit::CONFIG,
        DiscoveryError::Registry {
            source:
                RegistryError::Database(_) | RegistryError::Stale { .. } | RegistryError::ShutDown,
            ..
        } => exit::UNAVAILABLE,
        DiscoveryError::Registry { .. } => exit::INTERNAL,
    }
}
