//! The service's own routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use sqlx::PgPool;
use tasker_shared::SystemContext;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_shared::registry::catalog::TemplateCatalog;

use super::handlers::{cache, retirement, tasks, templates};
use crate::task_initialization::TaskInitializer;
use crate::template_loader::TemplateLoader;

/// The state that the routes share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ApiState {
    pub(super) pool: PgPool,
    pub(super) registry: Arc<TaskHandlerRegistry>,
    pub(super) catalog: TemplateCatalog,
    pub(super) initializer: Arc<TaskInitializer>,
}

/// Returns the routes below `/v1`.
pub fn routes(context: &SystemContext) -> Router {
    let registry = Arc::clone(&context.task_handler_registry);
    let pool = context.database_pool().clone();
    let loader = TemplateLoader::new(Arc::clone(&registry));
    Router::new()
        .route("/v1/tasks", get(tasks::list_tasks).post(tasks::create_task))
        .route("/v1/tasks/{task_uuid}", get(tasks::get_task))
        .route(
            "/v1/tasks/{task_uuid}/workflow_steps",
            get(tasks::list_workflow_steps),
        )
        .route("/v1/handlers", get(templates::list_namespaces))
        .route("/v1/handlers/{namespace}", get(templates::list_handlers))
        .route(
            "/v1/handlers/{namespace}/{name}",
            get(templates::get_handler),
        )
        .route(
            "/v1/handlers/{namespace}/{name}/{version}/retirement",
            get(retirement::get_retirement)
                .put(retirement::retire_template)
                .delete(retirement::restore_template),
        )
        .route(
            "/v1/templates/cache/entries",
            get(cache::list_cache_entries),
        )
        .with_state(ApiState {
            initializer: Arc::new(TaskInitializer::new(loader, pool.clone())),
            catalog: TemplateCatalog::new(pool.clone()),
            pool,
            registry,
        })
}
