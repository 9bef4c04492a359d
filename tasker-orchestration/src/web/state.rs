//! The state of the routes.

use std::sync::Arc;

use sqlx::PgPool;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_shared::registry::catalog::TemplateCatalog;
use tasker_web::Lifecycle;

use crate::analytics::AnalyticsCache;
use crate::ends::Ends;
use crate::task_initialization::TaskInitializer;

/// The state that the routes share. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ApiState {
    pub(super) pool: PgPool,
    pub(super) registry: Arc<TaskHandlerRegistry>,
    pub(super) catalog: TemplateCatalog,
    pub(super) initializer: Arc<TaskInitializer>,
    pub(super) ends: Ends,
    pub(super) analytics: AnalyticsCache,
    pub(super) lifecycle: Lifecycle,
    /// The environment whose overrides of templates apply.
    pub(super) environment: Arc<str>,
}
