//! The service's own routes.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tasker_shared::SystemContext;
use tasker_shared::registry::catalog::TemplateCatalog;
use tasker_web::Lifecycle;

use super::handlers::{analytics, cache, dlq, execution, history, retirement, tasks, templates};
use super::state::ApiState;
use crate::analytics::AnalyticsCache;
use crate::ends::Ends;
use crate::task_initialization::TaskInitializer;
use crate::template_loader::TemplateLoader;

/// Returns the routes below `/v1`.
pub fn routes(context: &SystemContext, ends: Ends, lifecycle: Lifecycle) -> Router {
    let registry = Arc::clone(&context.task_handler_registry);
    let pool = context.database_pool().clone();
    let loader = TemplateLoader::new(Arc::clone(&registry));
    let environment: Arc<str> = context.tasker_config.common.environment.as_str().into();
    Router::new()
        .route("/v1/tasks", get(tasks::list_tasks).post(tasks::create_task))
        .route(
            "/v1/tasks/{task_uuid}",
            get(tasks::get_task).delete(execution::cancel_task),
        )
        .route(
            "/v1/tasks/{task_uuid}/workflow_steps",
            get(tasks::list_workflow_steps),
        )
        .route(
            "/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}",
            get(execution::get_workflow_step).patch(execution::patch_workflow_step),
        )
        .route(
            "/v1/tasks/{task_uuid}/workflow_steps/{step_uuid}/audit",
            get(execution::get_step_audit),
        )
        .route("/v1/workers", get(execution::list_workers))
        .route("/v1/queue", get(execution::get_queue))
        .route("/v1/dlq", get(dlq::list_dlq))
        .route(
            "/v1/dlq/{dlq_entry_uuid}",
            get(dlq::get_dlq_entry).patch(dlq::patch_dlq_entry),
        )
        .route("/v1/analytics/performance", get(analytics::get_performance))
        .route("/v1/analytics/bottlenecks", get(analytics::get_bottlenecks))
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
            "/v1/handlers/{namespace}/{name}/{version}/history",
            get(history::get_history),
        )
        .route(
            "/v1/templates/cache/entries",
            get(cache::list_cache_entries),
        )
        .with_state(ApiState {
            initializer: Arc::new(
                TaskInitializer::new(loader, pool.clone()).in_environment(&*environment),
            ),
            catalog: TemplateCatalog::new(pool.clone()),
            pool,
            registry,
            ends,
            analytics: AnalyticsCache::new(
                Arc::clone(context.cache_provider()),
                context.tasker_config.common.cache.as_ref(),
            ),
            lifecycle,
            environment,
        })
}
