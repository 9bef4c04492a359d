//! The state of the routes.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tasker_shared::registry::TaskHandlerRegistry;
use tasker_shared::registry::catalog::TemplateCatalog;

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
    /// The longest that a request may wait for the end of a task.
    pub(super) longest_wait: Duration,
}
